"""Whom a training loop tells how it goes, and how it ends early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from subspace.train.running import RunningPhase
from subspace.train.trainer import Trainer


@dataclass(frozen=True)
class Progress:
    """Where an epoch is, for whoever shows it; figures are its running means.

    Attributes:
        epoch: of the run, from 0.
        step, steps: of the epoch: done, and in all.
        figures: the task's metrics by name, ``loss`` among them.
    """

    epoch: int
    step: int
    steps: int
    figures: dict[str, float]
    examples_per_second: float


class Stopped(Exception):
    """A stop was asked for; a checkpoint of the last step is on disk, if the run has a folder."""


class Diverged(Exception):
    """The loss or a parameter is not finite; the last good checkpoint stays."""

    def __init__(self, step: int, last_good: int | None, phase: int):
        self.step = step
        self.last_good = last_good
        self.phase = phase
        super().__init__(f"the loss is not finite at step {step}")


@dataclass(frozen=True)
class Callback:
    """Functions that a loop calls; give those that you want.

    Attributes:
        on_start: once before the first step, with the trainer and the steps done already.
        on_phase: when a phase begins, or goes on after resuming.
        on_progress: about twice a second, with a `Progress`.
        on_epoch: with each epoch's record, as in metrics.jsonl.
        on_warning: with what the user should know, in a sentence.
        should_stop: asked before every step; True saves a checkpoint and ends the run.

    Examples:
        >>> show = Callback(on_epoch=lambda record: print(record["epoch"], record["train_loss"]))
    """

    on_start: Callable[[Trainer, int], None] = lambda trainer, steps: None
    on_phase: Callable[[RunningPhase], None] = lambda running: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_warning: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


def together(callbacks: Sequence[Callback]) -> Callback:
    """One that calls all, in order; any of them may stop the run."""

    def all_of(name: str) -> Callable[..., None]:
        def call(*about: Any) -> None:
            for one in callbacks:
                getattr(one, name)(*about)

        return call

    return Callback(
        on_start=all_of("on_start"),
        on_phase=all_of("on_phase"),
        on_progress=all_of("on_progress"),
        on_epoch=all_of("on_epoch"),
        on_warning=all_of("on_warning"),
        should_stop=lambda: any(one.should_stop() for one in callbacks),
    )
