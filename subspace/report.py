"""Records -> summary, table, and pictures."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from subspace.trainer import Trainer

_PACKAGES = ("subspace-jax", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy")


def summarize(trainer: Trainer, results: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a finished run: what summary.json holds.

    Losses are mean cross-entropy in nats, accuracies fractions; the training figures are running
    means over the last epoch, the others are of the final parameters. ``examples_per_second``
    counts training steps only, without compilation.
    """
    config = trainer.config
    record = {
        "method": config.method,
        "dataset": config.dataset,
        "dataset_version": trainer.dataset.version,
        "model": config.model,
        "parameters": trainer.parameters,
        "dimensions": trainer.dimensions,
        "compression": trainer.parameters / trainer.dimensions,
        "basis": config.basis,
        "compartments": config.compartments,
        "allocate": config.allocate,
        "seed": config.seed,
        "epochs": config.epochs,
        "steps": results["step"],
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "augment": config.augment,
    }
    figures = {
        name: results.get(name)
        for name in (
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "test_loss",
            "test_accuracy",
            "seconds",
            "examples_per_second",
        )
    }
    return record | figures | {"device": device(), "versions": versions()}


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for i, (label, records) in enumerate(runs):
            _curve(panel, f"C{i}", label, records, quantity)
        panel.set_xlabel("epoch")
        panel.set_ylabel(quantity if quantity == "accuracy" else "cross-entropy loss (nats)")
        panel.grid(alpha=0.3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="small")
    if title:
        figure.suptitle(title)
    temporary = file.with_name(f".{file.name}.part")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(file)


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
