"""Records -> summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from subspace.natural.capture import others
from subspace.store.circumstances import versions
from subspace.train.running import PlacedPhase
from subspace.train.trainer import Trainer

_COUNTS = (
    *("ended", "averaged", "searches", "failed_searches"),
    *("refreshes", "kid_refreshes", "kis_refreshes"),
)
_SPLITS = ("train", "validation", "test")
_OF_LAST = ("basis", "compartments", "allocate", "momentum", "weight_decay")
"""Settings of the last phase that a summary names, None where they don't apply."""


def summarize(
    trainer: Trainer, results: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The figures of a finished run: what summary.json holds.

    ``metrics`` are the task's, each as (name, unit, whether high is good), the one that runs are
    compared by first; for every one there are ``train_NAME``, a running mean over the last epoch,
    ``validation_NAME`` and ``test_NAME``, of the final parameters. ``best_validation_NAME`` is the
    best of the first one at the end of an epoch. ``examples_per_second`` counts training steps of
    the last phase only, without compilation. ``gradient_epochs`` is the cost of all training in
    gradients over the training split, a forward pass being a third of one. Of a run of several
    phases the settings are the last one's, and ``phases`` holds those of each, with its last
    figures.
    """
    config, last = trainer.config, trainer.config.phases[-1]
    first = trainer.task.metrics[0]
    record = {
        "task": config.task,
        "metrics": [list(metric) for metric in trainer.task.metrics],
        "method": config.methods,
        "dataset": config.dataset,
        "dataset_version": trainer.dataset.version,
        "model": config.model,
        "parameters": trainer.parameters,
        "dimensions": results["dimensions"],
        "compression": trainer.parameters / results["dimensions"],
        "seed": config.seed,
        "epochs": config.epochs,
        "steps": results["step"],
        "batch_size": last.batch_size,
        "learning_rate": last.learning_rate,
        "augment": config.augment,
        "label_noise": config.label_noise,
        "source": config.source,
    }
    record |= {name: last.values.get(name) for name in _OF_LAST}
    figures = {name: results.get(name) for name in _figures(trainer)}
    held_out = [
        one[f"validation_{first.name}"] for one in records if f"validation_{first.name}" in one
    ]
    best = max if first.maximise else min
    figures[f"best_validation_{first.name}"] = best(held_out, default=None)
    ends = [*records[:-1], results]
    phases = [_phase(trainer, place, ends) for place in trainer.phases]
    return record | figures | {"phases": phases, "device": device(), "versions": versions()}


def _figures(trainer: Trainer) -> list[str]:
    found = [f"{split}_{metric.name}" for split in _SPLITS for metric in trainer.task.metrics]
    return [*found, "gradient_epochs", "seconds", "examples_per_second"]


def _phase(
    trainer: Trainer, place: PlacedPhase, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What was set for a phase, and the figures of its last epoch."""
    phase = place.phase
    settings = {"method": phase.method.name, **phase.values}
    ends = [record for record in records if record.get("phase") == place.index + 1][-1:]
    shown = (*_figures(trainer), *_COUNTS)
    found = {name: end[name] for end in ends for name in shown if name in end}
    if phase.method.needs_rows:
        found["without_curvature"] = others(trainer.weights.params)
    return settings | found


def device() -> str:
    """Such as ``"cpu"`` or ``"8 × TPU v4"``."""
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    return kind if count == 1 else f"{count} × {kind}"
