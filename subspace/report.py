"""Records -> summary, table, and pictures."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from subspace.capture import others
from subspace.stage import Span
from subspace.trainer import Trainer

_PACKAGES = ("subspace-jax", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy")


_FIGURES = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
    "examples_per_second",
)

_COUNTS = ("searches", "failed_searches", "refreshes", "kid_refreshes", "kis_refreshes")


def summarize(
    trainer: Trainer, results: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The figures of a finished run: what summary.json holds.

    Losses are mean cross-entropy in nats, accuracies fractions; the training figures are running
    means over the last epoch, the others are of the final parameters. ``examples_per_second``
    counts training steps of the last phase only, without compilation;
    ``best_validation_accuracy`` is the highest at the end of an epoch. Of a run of several phases
    the settings are the last one's, and ``phases`` holds those of each, with its last figures.
    """
    config, last = trainer.config, trainer.config.phases[-1]
    record = {
        "method": config.methods,
        "dataset": config.dataset,
        "dataset_version": trainer.dataset.version,
        "model": config.model,
        "parameters": trainer.parameters,
        "dimensions": results["dimensions"],
        "compression": trainer.parameters / results["dimensions"],
        "basis": last.basis,
        "compartments": last.compartments,
        "allocate": last.allocate,
        "seed": config.seed,
        "epochs": config.epochs,
        "steps": results["step"],
        "batch_size": last.batch_size,
        "learning_rate": last.learning_rate,
        "momentum": last.momentum,
        "weight_decay": last.weight_decay,
        "augment": config.augment,
        "label_noise": config.label_noise,
        "source": config.source,
    }
    figures = {name: results.get(name) for name in _FIGURES}
    held_out = [one["validation_accuracy"] for one in records if "validation_accuracy" in one]
    figures["best_validation_accuracy"] = max(held_out, default=None)
    ends = [*records[:-1], results]
    phases = [_phase(span, ends, trainer.weights.params) for span in trainer.spans]
    return record | figures | {"phases": phases, "device": device(), "versions": versions()}


def _phase(span: Span, records: Sequence[Mapping[str, Any]], params: PyTree) -> dict[str, Any]:
    """What was set for a phase, and the figures of its last epoch."""
    settings = {name: value for name, value in span.phase.to_json().items() if value is not None}
    ends = [record for record in records if record["epoch"] == span.end_epoch]
    shown = (*_FIGURES, *_COUNTS)
    found = {name: end[name] for end in ends for name in shown if name in end}
    if "refresh" in settings:
        found["without_curvature"] = others(params)
    return settings | found


def device() -> str:
    """Such as ``"cpu"`` or ``"8 × TPU v4"``."""
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    return kind if count == 1 else f"{count} × {kind}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def plot_curves(
    file: Path, runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], title: str = ""
) -> None:
    """Draws loss and accuracy against epochs, one colour a run, and writes a PNG.

    Args:
        file: where; replaced whole.
        runs: (label, the epochs' records) of each.
        title: above both panels.
    """
    figure = new_figure()
    panels = figure.subplots(1, 2)
    for panel, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for i, (label, records) in enumerate(runs):
            _curve(panel, f"C{i}", label, records, quantity)
            _boundaries(panel, "grey" if len(runs) == 1 else f"C{i}", records, not label)
        panel.set_xlabel("epoch")
        panel.set_ylabel(quantity if quantity == "accuracy" else "cross-entropy loss (nats)")
        panel.grid(alpha=0.3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="small")
    write_figure(figure, file, title)


def _curve(
    panel: Any, colour: str, label: str, records: Sequence[Mapping[str, Any]], quantity: str
) -> None:
    """Training dashed, validation solid."""
    epochs = [record["epoch"] for record in records]
    lines = [("train", "--"), ("validation", "-")]
    for split, style in lines:
        values = [record.get(f"{split}_{quantity}") for record in records]
        if values and None not in values:
            marker = "o" if len(values) == 1 else None
            name = " ".join(filter(None, (label, split)))
            panel.plot(epochs, values, style, color=colour, marker=marker, label=name)


def _boundaries(panel: Any, colour: str, records: Sequence[Mapping[str, Any]], named: bool) -> None:
    """A line where one phase ends and the next begins, with the next one's method."""
    for before, after in pairwise(records):
        if before.get("phase") == after.get("phase"):
            continue
        panel.axvline(before["epoch"], color=colour, linestyle=":", linewidth=1)
        if named:
            place = (before["epoch"], 1.0)
            style = {"fontsize": "small", "color": colour, "va": "top"}
            panel.annotate(
                f" {after['method']}", place, xycoords=("data", "axes fraction"), **style
            )


def plot_variance(file: Path, ratio: Sequence[float] | np.ndarray, title: str = "") -> None:
    """Draws how much of a trajectory's variance its directions explain, and writes a PNG.

    The DLDR paper's figure: each direction's share, and their sum up to each.
    """
    figure = new_figure()
    panels = figure.subplots(1, 2)
    order = np.arange(1, len(ratio) + 1)
    panels[0].semilogy(order, ratio, "o-", markersize=3)
    panels[0].set_ylabel("explained variance ratio")
    panels[1].plot(order, np.cumsum(ratio), "o-", markersize=3)
    panels[1].set_ylabel("cumulative")
    panels[1].set_ylim(0, 1.02)
    for panel in panels:
        panel.set_xlabel("principal direction")
        panel.grid(alpha=0.3)
    write_figure(figure, file, title)


def new_figure(width: int | float = 10, height: int | float = 4) -> Any:
    """An empty figure of so many inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_figure(figure: Any, file: Path, title: str) -> None:
    """Writes a PNG, whole."""
    if title:
        figure.suptitle(title)
    temporary = file.with_name(f".{file.name}.part")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(file)
