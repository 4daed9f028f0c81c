"""A run's configuration -> the command that makes such a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import flag

if TYPE_CHECKING:
    from subspace.config.phase import Phase
    from subspace.config.run import RunConfig

_NO = {"separate_batches": "--same-batch"}


def run_command(config: RunConfig, out: Path | None = None, rate: bool = True) -> str:
    """``subspace run ...`` with what differs from the defaults.

    Args:
        config: of the run.
        out: its folder; None for the default.
        rate: name the first learning rate even where it is the default, which a rate that was
            tuned would replace.
    """
    from subspace.config.run import TASK, RunConfig

    first, *others = config.phases
    words = ["subspace", "run", first.method]
    usual = RunConfig.resolve({"method": "sgd", "model": config.model, "dataset": config.dataset})
    usual = replace(usual, model="fc", dataset="digits")
    theirs = {"phases", "source", "epochs_before"}
    for name in sorted(TASK - theirs):
        words += _option(name, getattr(config, name), getattr(usual, name))
    words += _option("source", config.source, None)
    changed = _changed(first, config, "here" if config.source is None else None)
    if rate and first.learning_rate is not None:
        changed["learning_rate"] = first.learning_rate
    for name, value in changed.items():
        words += _option(name, value, None)
    start = "first" if first.sample_every is not None else "here"
    for phase in others:
        pairs = [f"{name}={_text(value)}" for name, value in _changed(phase, config, start).items()]
        words += ["--then", ":".join(filter(None, [phase.method, ",".join(pairs)]))]
        start = "first" if phase.sample_every is not None else "here"
    if out is not None:
        words += ["--out", str(out)]
    return shlex.join(words)


def _changed(phase: Phase, config: RunConfig, start: str | None) -> dict[str, Any]:
    """The fields of a phase that differ from its method's defaults; ``start`` is that field's."""
    from subspace.config.phase import Phase

    bare: dict[str, Any] = {"method": phase.method}
    if phase.error_feedback:  # which the default learning rate depends on
        bare["error_feedback"] = phase.error_feedback
    usual = Phase.resolve(bare, model=config.model, dataset=config.dataset, start="here")
    if phase.on_trajectory:
        usual = replace(usual, start=start)
    wanted = [one.name for one in fields(Phase) if one.name != "method"]
    pairs = {name: getattr(phase, name) for name in wanted}
    found = {name: have for name, have in pairs.items() if have != getattr(usual, name)}
    if phase.error_feedback:
        found["error_feedback"] = True
    return found


def _option(name: str, value: Any, usual: Any) -> list[str]:
    if value == usual:
        return []
    if isinstance(value, bool):
        no = _NO.get(name, f"--no-{name.replace('_', '-')}")
        return [flag(name) if value else no]
    return [flag(name), _text(value)]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def same_task(config: RunConfig, method: str) -> RunConfig:
    """Another method's run on a run's task, for as long, with its defaults otherwise."""
    from subspace.config.run import TASK, RunConfig

    task: Mapping[str, Any] = {name: getattr(config, name) for name in TASK - _OWN}
    size = config.phases[0].batch_size
    return RunConfig.resolve(
        {**task, "method": method, "epochs": config.epochs, "batch_size": size}
    )


_OWN = {"source", "epochs_before", "checkpoint_every", "recalibrate_bn", "diagnose", "workers"}
"""What says how a run is made, and not what it learns from."""
