"""What is kept of every step: samples of the trajectory, coordinates, measurements.

Each is told of a step by a small record of it, and knows nothing of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from subspace.optim.in_subspace import subspace_state
from subspace.optim.linesearch import search_counts
from subspace.store.coordinate_log import CoordinateLog
from subspace.store.folder import RunFolder
from subspace.store.samples import Samples
from subspace.train import diagnose
from subspace.train.running import PlacedPhase, RunningPhase
from subspace.train.step import TrainState
from subspace.train.trainer import Trainer


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        number: before it, counted through the run's phases.
        running: its phase.
        inputs: what the phase's `train_step` takes beside the state.
    """

    number: int
    running: RunningPhase
    inputs: tuple[Any, ...]


class Recorder:
    """Keeps something of every step; by itself nothing."""

    def begin(self, state: TrainState) -> None:
        """A phase begins."""

    def go_on(self, step: int) -> None:
        """A resumed phase goes on after so many steps."""

    def before(self, step: Step, state: TrainState) -> None:
        """A step is about to be taken, which takes the state's arrays with it."""

    def after(self, step: Step, state: TrainState) -> None:
        """It was taken."""

    def flush(self) -> None:
        """All so far has to be on disk, as a checkpoint is saved."""


def recorders_of(trainer: Trainer, running: RunningPhase, folder: RunFolder) -> list[Recorder]:
    """Those that a phase asks for."""
    found: list[Recorder] = []
    if running.phase.samples_trajectory:
        found.append(Sampler(trainer, sample_file(trainer, running.place, folder)))
    if running.phase.logs_coordinates and folder.writes:
        file = folder.coordinates_file(running.place.index)
        size = running.dimensions(trainer.weights.params)
        found.append(CoordinateLogger(CoordinateLog(file, size, running.place.first_step)))
    if trainer.config.diagnose:
        found.append(Diagnoser(trainer.config.diagnose, folder.append_diagnostics))
    return found


def sample_file(trainer: Trainer, place: PlacedPhase, folder: RunFolder) -> Samples:
    """Where the samples of a phase lie."""
    assert place.sample_every is not None
    file = folder.trajectory_file(place.index, half=place.phase.schedule.half_samples)
    every = place.sample_every
    return Samples(file, trainer.row_size, place.first_step, every, folder.writes)


class Sampler(Recorder):
    """Samples of the trajectory, for a later phase to build on."""

    def __init__(self, trainer: Trainer, samples: Samples):
        self._trainer, self._samples = trainer, samples

    def begin(self, state: TrainState) -> None:
        self._samples.clear()
        self._samples.append(self._trainer.row(state))

    def go_on(self, step: int) -> None:
        self._samples.cut(step)

    def after(self, step: Step, state: TrainState) -> None:
        if self._samples.due(step.number + 1):
            self._samples.append(self._trainer.row(state))


class CoordinateLogger(Recorder):
    """What all workers agreed on in every step."""

    def __init__(self, log: CoordinateLog):
        self._log = log

    def begin(self, state: TrainState) -> None:
        del state
        self._log.clear()

    def go_on(self, step: int) -> None:
        self._log.cut(step)

    def after(self, step: Step, state: TrainState) -> None:
        found = subspace_state(state.opt_state)
        assert found is not None
        self._log.append(found.agreed)

    def flush(self) -> None:
        self._log.flush()


class Diagnoser(Recorder):
    """Steps set beside the gradient at their start."""

    def __init__(self, every: int, write: Callable[[dict[str, Any]], None]):
        self._every, self._write = every, write
        self._kept: tuple[PyTree, PyTree, int | None] | None = None

    def before(self, step: Step, state: TrainState) -> None:
        if step.number % self._every == 0:
            gradient = step.running.gradient(state, *step.inputs)
            self._kept = gradient, jax.tree.map(jnp.copy, state.params), _trials(state)

    def after(self, step: Step, state: TrainState) -> None:
        if self._kept is None:
            return
        (gradient, before, trials), self._kept = self._kept, None
        record = {"step": step.number, "phase": step.running.place.index + 1}
        record |= diagnose.compare(gradient, before, state.params)
        record |= diagnose.expected(step.running.phase.method, before)
        if trials is not None:
            record["trials"] = (_trials(state) or 0) - trials
        condition = diagnose.condition(state.opt_state)
        if condition is not None:
            record["condition"] = condition
        self._write(record)


def _trials(state: TrainState) -> int | None:
    """Evaluations of the loss by line searches so far."""
    counts = search_counts(state.opt_state)
    return None if counts is None else int(counts.trials)
