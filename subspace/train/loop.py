"""The training loop: phases, epochs, records, samples, checkpoints, stopping."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from subspace import distributed
from subspace.data.stream import Feed
from subspace.natural.scale_by_curvature import trace
from subspace.optim.in_subspace import subspace_state
from subspace.optim.linesearch import search_counts
from subspace.store.checkpoint import Checkpoints
from subspace.store.coordinate_log import CoordinateLog
from subspace.store.folder import RunFolder
from subspace.store.samples import Samples
from subspace.store.weights import Weights
from subspace.train import diagnose
from subspace.train.callbacks import Diverged, Progress, Stopped, Watcher
from subspace.train.clock import Clock
from subspace.train.mesh import for_workers
from subspace.train.running import Stage, dimensions
from subspace.train.step import TrainState, no_meters
from subspace.train.trainer import Trainer, means

_LOG_SECONDS = 0.5  # between readings of the loss, each of which waits for the device


def train(
    trainer: Trainer,
    folder: RunFolder,
    *,
    resume: bool = False,
    watcher: Watcher = Watcher(),
) -> dict[str, Any]:
    """Trains to the last epoch of the last phase.

    Args:
        trainer: the pieces of the run.
        folder: where records, samples and checkpoints go; it holds the configuration already.
        resume: continue from the newest whole checkpoint there.
        watcher: is told how the run goes.

    Returns:
        The last epoch's record, the figures on the test split, and ``dimensions``, d.

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
        else:
            loop.enter(0)
        watcher.on_start(trainer, loop.done)
        return loop.run()
    finally:
        loop.feed.close()
        loop.checkpoints.close()


class _Loop:
    stage: Stage
    state: TrainState
    samples: Samples | None
    coordinates: CoordinateLog | None

    def __init__(self, trainer: Trainer, folder: RunFolder, watcher: Watcher):
        self.trainer, self.folder, self.watcher = trainer, folder, watcher
        self.config = trainer.config
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.done = 0  # steps: state.step, without asking the device
        self.saved: int | None = None
        self.began = time.perf_counter()
        split = trainer.dataset.train
        self.feed = Feed(split.images, split.labels, trainer.placed)

    def enter(self, index: int) -> None:
        """Begins a phase, from where the one before it ended unless it starts elsewhere."""
        self.prepare(index)
        weights = self.trainer.weights
        if index:
            weights = Weights(self.state.params, self.state.model_state)
        state = self.stage.state(self.stage.start or weights, self.trainer.mesh.size)
        self.state = self.trainer.placed(state)
        if self.samples:
            self.samples.clear()
            self.samples.append(self.trainer.row(self.state))
        if self.coordinates:
            self.coordinates.cut(self.done)

    def prepare(self, index: int) -> None:
        """All of a phase but its state."""
        sampling = self.config.sampled_by(index)
        rows = None
        if self.config.phases[index].on_trajectory and sampling is not None:
            distributed.wait_for_all("the trajectory is written")
            samples = self.sample_file(sampling)
            samples.cut(self.trainer.spans[sampling].end_step)  # or they are cut short
            rows = samples.rows()
        self.stage = self.trainer.stage(index, rows)
        sampled = self.stage.phase.sample_every is not None
        self.samples = self.sample_file(index) if sampled else None
        self.coordinates = self.coordinate_log()
        self.clock = Clock()
        self.compiled: set[bool | None] = set()

    def coordinate_log(self) -> CoordinateLog | None:
        if not (self.stage.phase.log_coordinates and self.folder.writes):
            return None
        file = self.folder.coordinates_file(self.stage.span.index)
        size = dimensions(self.stage.phase, self.stage.optimizer, self.trainer.weights.params)
        return CoordinateLog(file, size, self.stage.span.first_step)

    def sample_file(self, index: int) -> Samples:
        span = self.trainer.spans[index]
        assert span.sample_every is not None
        file = self.folder.trajectory_file(index, half=bool(span.phase.half_samples))
        size, every = self.trainer.row_size, span.sample_every
        return Samples(file, size, span.first_step, every, self.folder.writes)

    def restore(self) -> None:
        state, meta, damaged = self.checkpoints.restore(self.template)
        self.state = self.trainer.placed(for_workers(state, self.trainer.mesh.size))
        self.done = self.saved = int(meta["step"])
        self.began -= meta["seconds"]
        self.clock.seconds, self.clock.examples = meta["train_seconds"], meta["train_examples"]
        if self.samples:
            self.samples.cut(self.done)
        if self.coordinates:
            self.coordinates.cut(self.done)
        if damaged:
            distributed.wait_for_all("all know which checkpoints are damaged")
            self.checkpoints.drop(damaged)
            self.watcher.on_damaged(damaged)

    def template(self, meta: dict[str, Any]) -> TrainState:
        self.prepare(meta["phase"])
        return self.stage.state(self.trainer.weights, meta["workers"])

    def run(self) -> dict[str, Any]:
        for index in range(self.stage.span.index, len(self.trainer.spans)):
            if index != self.stage.span.index:
                self.enter(index)
            self.watcher.on_phase(self.stage)
            self.phase()
        self.checkpoints.wait()
        loss, accuracy = self.trainer.evaluate(self.state, self.trainer.dataset.test)
        size = dimensions(self.stage.phase, self.stage.optimizer, self.state.params)
        figures = {"test_loss": loss, "test_accuracy": accuracy, "dimensions": size}
        distributed.wait_for_all("the last record is written")
        return self.folder.records()[-1] | figures | {"seconds": self.seconds}

    def phase(self) -> None:
        """Trains from wherever the phase stands to its end."""
        span = self.stage.span
        begun = (self.done - span.first_step) // span.steps
        for epoch in range(span.first_epoch + begun, span.end_epoch):
            self.epoch(epoch)
            last = epoch + 1 == span.end_epoch
            if last and self.config.recalibrate_bn and span.phase.dim is not None:
                state = self.trainer.recalibrated(self.state)
                self.state = self.state._replace(model_state=self.trainer.placed(state))
            record = self.record(epoch)
            self.state = self.state._replace(meters=self.trainer.placed(no_meters()))
            self.folder.append(record)
            self.watcher.on_epoch(record)
            if last or (epoch + 1) % self.config.checkpoint_every == 0:
                self.save()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def epoch(self, epoch: int) -> None:
        """Trains from wherever the epoch stands to its end."""
        span = self.stage.span
        self.feed.begin(self.trainer.order(span, epoch), span.phase.batch_size)
        logged = time.perf_counter()
        if self.compiled:
            self.clock.start()
        while self.done < span.first_step + (epoch + 1 - span.first_epoch) * span.steps:
            if self.watcher.should_stop() or distributed.all_stop_at(self.done):
                self.interrupt()
            self.step()
            if time.perf_counter() - logged > _LOG_SECONDS:
                self.log(epoch)
                logged = time.perf_counter()
        jax.block_until_ready(self.state)
        self.clock.stop()

    def step(self) -> None:
        span = self.stage.span
        inputs = self.feed.at((self.done - span.first_step) % span.steps)
        due = span.refresh_due(self.done)
        if due not in self.compiled:
            jax.block_until_ready(self.state)
            self.clock.stop()
        if self.config.diagnose and self.done % self.config.diagnose == 0:
            self.measured_step(due, *inputs)
        else:
            self.state = self.stage.train_step(self.state, *inputs, due=due)
        self.done += 1
        self.clock.count(self.stage.phase.batch_size)
        if due not in self.compiled:
            jax.block_until_ready(self.state)
            self.compiled.add(due)
            self.clock.start()
        if self.samples and self.samples.due(self.done):
            self.samples.append(self.trainer.row(self.state))
        if self.coordinates:
            state = subspace_state(self.state.opt_state)
            assert state is not None
            self.coordinates.append(state.agreed)

    def measured_step(self, due: bool | None, *inputs: Array) -> None:
        """A step, set beside the gradient at its start."""
        gradient = self.stage.gradient(self.state, *inputs)
        before = jax.tree.map(jnp.copy, self.state.params)
        trials = _trials(self.state)
        self.state = self.stage.train_step(self.state, *inputs, due=due)
        record = {"step": self.done, "phase": self.stage.span.index + 1}
        record |= diagnose.compare(gradient, before, self.state.params)
        record |= diagnose.expected(self.stage.phase, before)
        if trials is not None:
            record["trials"] = (_trials(self.state) or 0) - trials
        condition = diagnose.condition(self.state.opt_state)
        if condition is not None:
            record["condition"] = condition
        self.folder.append_diagnostics(record)

    def log(self, epoch: int) -> None:
        loss, accuracy = means([self.state.meters])
        # of several processes the others look at other times, and would wait for this one
        if not distributed.is_one_of_several():
            self.check(loss)
        span = self.stage.span
        step = self.done - span.first_step - (epoch - span.first_epoch) * span.steps
        rate = self.clock.rate
        self.watcher.on_progress(Progress(epoch, step, span.steps, loss, accuracy, rate))

    def record(self, epoch: int) -> dict[str, Any]:
        loss, accuracy = means([self.state.meters])
        self.check(loss)
        validation = self.trainer.dataset.validation
        record = {
            "epoch": epoch + 1,
            "phase": self.stage.span.index + 1,
            "method": self.stage.phase.method,
            "step": self.done,
            "train_loss": loss,
            "train_accuracy": accuracy,
        }
        if len(validation.labels):
            loss, accuracy = self.trainer.evaluate(self.state, validation)
            self.check(loss)
            record |= {"validation_loss": loss, "validation_accuracy": accuracy}
        if self.done == self.stage.span.end_step < self.trainer.spans[-1].end_step:
            loss, accuracy = self.trainer.evaluate(self.state, self.trainer.dataset.test)
            record |= {"test_loss": loss, "test_accuracy": accuracy}
        counts = search_counts(self.state.opt_state)
        if counts is not None:  # since the phase began
            record |= {"searches": int(counts.searches), "failed_searches": int(counts.failures)}
        record |= trace(self.state.opt_state)
        return record | {"seconds": self.seconds, "examples_per_second": self.clock.rate}

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.checkpoints.wait()
            raise Diverged(self.done, self.saved, self.stage.span.index)

    def save(self) -> None:
        self.check(0.0 if bool(_all_finite(self.state.params)) else math.nan)
        meta = {
            "step": self.done,
            "phase": self.stage.span.index,
            "workers": self.trainer.mesh.size,
            "seconds": self.seconds,
            "train_seconds": self.clock.seconds,
            "train_examples": self.clock.examples,
        }
        if self.coordinates:
            self.coordinates.flush()
        self.checkpoints.save(self.done, self.state, meta)
        self.saved = self.done

    def interrupt(self) -> None:
        self.clock.stop()
        self.save()
        self.checkpoints.wait()
        raise Stopped


def _trials(state: TrainState) -> int | None:
    """Evaluations of the loss by line searches so far."""
    counts = search_counts(state.opt_state)
    return None if counts is None else int(counts.trials)


@jax.jit
def _all_finite(params: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
