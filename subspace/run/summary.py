"""Records -> summary."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
from jaxtyping import PyTree

from subspace.natural.capture import others
from subspace.train.running import Span
from subspace.train.trainer import Trainer

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
