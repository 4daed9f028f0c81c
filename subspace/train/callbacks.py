"""What a training loop tells whoever watches it, and how it ends early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from subspace.train.running import Stage
from subspace.train.trainer import Trainer


@dataclass(frozen=True)
class Progress:
    """Where an epoch is, for whoever shows it; loss and accuracy are its running means."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    examples_per_second: float


class Stopped(Exception):
    """A stop was asked for; a checkpoint of the last step is on disk."""


class Diverged(Exception):
    """The loss or a parameter is not finite; the last good checkpoint stays."""

    def __init__(self, step: int, last_good: int | None, phase: int):
        self.step = step
        self.last_good = last_good
        self.phase = phase
        super().__init__(f"the loss is not finite at step {step}")


@dataclass(frozen=True)
class Watcher:
    """Whom a loop tells how it goes.

    Attributes:
        on_start: called once before the first step with the trainer and the steps done already.
        on_phase: called when a phase begins, or goes on after resuming.
        on_progress: called about twice a second.
        on_epoch: called with each epoch's record.
        on_damaged: called on resuming with the steps of damaged checkpoints that were passed over.
        should_stop: asked before every step; True saves a checkpoint and raises `Stopped`.
    """

    on_start: Callable[[Trainer, int], None] = lambda trainer, steps: None
    on_phase: Callable[[Stage], None] = lambda stage: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_damaged: Callable[[list[int]], None] = lambda steps: None
    should_stop: Callable[[], bool] = lambda: False
