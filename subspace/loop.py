"""The training loop: epochs, records, checkpoints, stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from subspace.checkpoint import Checkpoints
from subspace.clock import Clock
from subspace.folder import RunFolder
from subspace.step import no_meters
from subspace.trainer import Trainer, means

_LOG_SECONDS = 0.5  # between readings of the loss, each of which waits for the device


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

    def __init__(self, step: int, last_good: int | None):
        self.step = step
        self.last_good = last_good
        super().__init__(f"the loss is not finite at step {step}")


@dataclass(frozen=True)
class Watcher:
    """Whom a loop tells how it goes.

    Attributes:
        on_start: called once before the first step with the trainer and the steps done already.
        on_progress: called about twice a second.
        on_epoch: called with each epoch's record.
        on_damaged: called on resuming with the steps of damaged checkpoints that were passed over.
        should_stop: asked before every step; True saves a checkpoint and raises `Stopped`.
    """

    on_start: Callable[[Trainer, int], None] = lambda trainer, steps: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_damaged: Callable[[list[int]], None] = lambda steps: None
    should_stop: Callable[[], bool] = lambda: False


def train(
    trainer: Trainer, folder: RunFolder, *, resume: bool = False, watcher: Watcher = Watcher()
) -> dict[str, Any]:
    """Trains to the last epoch.

    Args:
        trainer: the pieces of the run.
        folder: where records and checkpoints go; it holds the configuration already.
        resume: continue from the newest whole checkpoint there.
        watcher: is told how the run goes.

    Returns:
        The last epoch's record and the figures on the test split.

    Raises:
        Stopped: the watcher asked for it.
        Diverged: the loss became NaN or infinite.
        InvalidInput: there is nothing whole to resume from.
    """
    loop = _Loop(trainer, folder, watcher)
    try:
        if resume:
            loop.restore()
            folder.rewrite(trainer.config, loop.done)
        watcher.on_start(trainer, loop.done)
        return loop.run()
    finally:
        loop.checkpoints.close()


class _Loop:
    def __init__(self, trainer: Trainer, folder: RunFolder, watcher: Watcher):
        self.trainer, self.folder, self.watcher = trainer, folder, watcher
        self.config, self.steps = trainer.config, trainer.steps
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.state = trainer.initial_state()
        self.done = 0  # steps: state.step, without asking the device
        self.saved: int | None = None
        self.clock = Clock()
        self.compiled = False
        self.began = time.perf_counter()
        split = trainer.dataset.train
        self.data = trainer.placed((np.asarray(split.images), np.asarray(split.labels)))

    def restore(self) -> None:
        state, meta, damaged = self.checkpoints.restore(self.state)
        self.state = self.trainer.placed(state)
        self.done = self.saved = int(meta["step"])
        self.began -= meta["seconds"]
        self.clock.seconds, self.clock.examples = meta["train_seconds"], meta["train_examples"]
        if damaged:
            self.checkpoints.drop(damaged)
            self.watcher.on_damaged(damaged)

    def run(self) -> dict[str, Any]:
        for epoch in range(self.done // self.steps, self.config.epochs):
            self.epoch(epoch)
            record = self.record(epoch)
            self.state = self.state._replace(meters=self.trainer.placed(no_meters()))
            self.folder.append(record)
            self.watcher.on_epoch(record)
            if epoch + 1 == self.config.epochs or (epoch + 1) % self.config.checkpoint_every == 0:
                self.save()
        self.checkpoints.wait()
        loss, accuracy = self.trainer.evaluate(self.state, self.trainer.dataset.test)
        last = self.folder.records()[-1]
        return last | {"test_loss": loss, "test_accuracy": accuracy, "seconds": self.seconds}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def epoch(self, epoch: int) -> None:
        """Trains from wherever the epoch stands to its end."""
        order = self.trainer.placed(self.trainer.order(epoch))
        logged = time.perf_counter()
        if self.compiled:
            self.clock.start()
        while self.done < (epoch + 1) * self.steps:
            if self.watcher.should_stop():
                self.interrupt()
            self.state = self.trainer.train_step(self.state, *self.data, order)
            self.done += 1
            self.clock.count(self.config.batch_size)
            if not self.compiled:
                jax.block_until_ready(self.state)
                self.compiled = True
                self.clock.start()
            if time.perf_counter() - logged > _LOG_SECONDS:
                self.log(epoch)
                logged = time.perf_counter()
        jax.block_until_ready(self.state)
        self.clock.stop()

    def log(self, epoch: int) -> None:
        loss, accuracy = means([self.state.meters])
        self.check(loss)
        step = self.done - epoch * self.steps
        rate = self.clock.rate
        self.watcher.on_progress(Progress(epoch, step, self.steps, loss, accuracy, rate))

    def record(self, epoch: int) -> dict[str, Any]:
        loss, accuracy = means([self.state.meters])
        self.check(loss)
        validation = self.trainer.dataset.validation
        record = {
            "epoch": epoch + 1,
            "step": self.done,
            "train_loss": loss,
            "train_accuracy": accuracy,
        }
        if len(validation.labels):
            loss, accuracy = self.trainer.evaluate(self.state, validation)
            self.check(loss)
            record |= {"validation_loss": loss, "validation_accuracy": accuracy}
        return record | {"seconds": self.seconds, "examples_per_second": self.clock.rate}

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.checkpoints.wait()
            raise Diverged(self.done, self.saved)

    def save(self) -> None:
        self.check(0.0 if bool(_all_finite(self.state.params)) else math.nan)
        meta = {
            "step": self.done,
            "seconds": self.seconds,
            "train_seconds": self.clock.seconds,
            "train_examples": self.clock.examples,
        }
        self.checkpoints.save(self.done, self.state, meta)
        self.saved = self.done

    def interrupt(self) -> None:
        self.clock.stop()
        self.save()
        self.checkpoints.wait()
        raise Stopped


@jax.jit
def _all_finite(params: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
