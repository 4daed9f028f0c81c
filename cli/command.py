"""A run's configuration -> the command that makes such a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subspace.config.phase import Phase
    from subspace.config.run import RunConfig
    from subspace.options import Field


def run_command(config: RunConfig, out: Path | None = None, rate: bool = True) -> str:
    """``subspace run ...`` with what differs from the defaults.

    Args:
        config: of the run.
        out: its folder; None for the default.
        rate: name the first learning rate even where it is the default, which a rate that was
            tuned would replace.
    """
    from subspace.config.run import RunConfig
    from subspace.options import fields_of

    first, *others = config.phases
    words = ["subspace", "run", first.method.name]
    given = {name: getattr(config, name) for name in ("task", "dataset")}
    usual = RunConfig.resolve({"method": "sgd", **given})
    for name, field in sorted(fields_of(RunConfig).items()):
        value = getattr(config, name)
        if value != (field.default if name in given else getattr(usual, name)):
            words += _option(field, value)
    changed = _changed(first, config, "here" if config.source is None else None)
    if rate and first.learning_rate is not None:
        changed["learning_rate"] = first.learning_rate
    for name, value in changed.items():
        words += _option(_field(first, name), value)
    start = "first" if first.samples_trajectory else "here"
    for phase in others:
        pairs = [f"{name}={_text(value)}" for name, value in _changed(phase, config, start).items()]
        words += ["--then", ":".join(filter(None, [phase.method.name, ",".join(pairs)]))]
        start = "first" if phase.samples_trajectory else "here"
    if out is not None:
        words += ["--out", str(out)]
    return shlex.join(words)


def _changed(phase: Phase, config: RunConfig, start: str | None) -> dict[str, Any]:
    """The fields of a phase that differ from its method's defaults; ``start`` is that field's."""
    from subspace.config.phase import Phase

    bare = {"method": phase.method.name}
    usual = Phase.resolve(bare, model=config.model, dataset=config.dataset).values
    if "start" in usual:
        usual["start"] = start
    found = {name: have for name, have in phase.values.items() if have != usual[name]}
    # The default learning rate is that of the other fields together, such as error feedback.
    fields = bare | {name: value for name, value in found.items() if name != "learning_rate"}
    again = Phase.resolve(fields, model=config.model, dataset=config.dataset)
    if again.learning_rate == phase.learning_rate:
        found.pop("learning_rate", None)
    elif phase.learning_rate is not None:
        found["learning_rate"] = phase.learning_rate
    return found


def _field(phase: Phase, name: str) -> Field:
    from subspace.config.phase import fields_of_phase

    return fields_of_phase(type(phase.method))[name]


def _option(field: Field, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [field.flag if value else field.off]
    return [field.flag, _text(value)]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def same_task(config: RunConfig, method: str) -> RunConfig:
    """Another method's run on a run's task, for as long, with its defaults otherwise."""
    from subspace.config.run import RunConfig
    from subspace.options import fields_of

    learned = [name for name, field in fields_of(RunConfig).items() if field.option.describes]
    task: Mapping[str, Any] = {name: getattr(config, name) for name in learned}
    size = config.phases[0].batch_size
    return RunConfig.resolve(
        {**task, "method": method, "epochs": config.epochs, "batch_size": size}
    )
