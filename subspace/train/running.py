"""A phase as it runs: its place among the run's epochs and steps, its optimizer, its step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.config.phase import Phase
from subspace.methods import Method
from subspace.optim.in_subspace import coordinates, find_state
from subspace.optim.local import LocalState
from subspace.optim.workers import PerWorker, own
from subspace.store.weights import Weights
from subspace.train.mesh import for_workers
from subspace.train.step import TrainState

_SETTLED = 60  # steps after which running statistics, a tenth of them new in each, have forgotten


@dataclass(frozen=True)
class PlacedPhase:
    """A phase's place in a run.

    Attributes:
        steps: in an epoch.
        first_epoch, first_step: how many there are before it.
    """

    index: int
    phase: Phase
    steps: int
    first_epoch: int
    first_step: int

    @property
    def end_epoch(self) -> int:
        return self.first_epoch + self.phase.epochs

    @property
    def end_step(self) -> int:
        return self.first_step + self.phase.epochs * self.steps

    @property
    def sample_every(self) -> int | None:
        """Steps between samples."""
        every = self.phase.schedule.sample_every
        return self.steps if isinstance(every, str) else every

    @property
    def samples(self) -> int:
        """How many it takes, the first at its start."""
        every = self.sample_every
        return 0 if every is None else (self.end_step - self.first_step) // every + 1

    def recalibrates(self, asked: bool | None) -> bool:
        """Whether batch norm's statistics are averaged over the training split at its end.

        Unless asked for or not, where a method on a trajectory left the weights that they were of
        for others, and had too few steps for them to follow.
        """
        if self.phase.values.get("average") is not None:
            return asked is not False
        if not ("dim" in self.phase.values or self.phase.on_trajectory):
            return False
        if asked is not None:
            return asked
        short = self.end_step - self.first_step < _SETTLED
        return short and self.phase.on_trajectory


def placed(phases: Sequence[Phase], examples: int) -> tuple[PlacedPhase, ...]:
    """The phases' places in a run over so many training examples."""
    found: list[PlacedPhase] = []
    epoch = step = 0
    for index, phase in enumerate(phases):
        found.append(PlacedPhase(index, phase, examples // phase.batch_size, epoch, step))
        epoch, step = found[-1].end_epoch, found[-1].end_step
    return tuple(found)


@dataclass(frozen=True)
class RunningPhase:
    """A phase that is ready to run.

    Attributes:
        train_step: see `subspace.train.step.make_train_step`.
        gradient: see `subspace.train.step.make_gradient`.
        start: the weights that it starts from, if not those of the phase before it.
        trained: for each leaf of the parameters whether it isn't frozen; None for all.
    """

    place: PlacedPhase
    optimizer: optax.GradientTransformationExtraArgs
    train_step: Callable[..., TrainState]
    gradient: Callable[..., PyTree]
    start: Weights | None
    trained: PyTree | None = None

    @property
    def phase(self) -> Phase:
        return self.place.phase

    def due(self, step: int) -> bool | None:
        """What the method says of a step of the run."""
        return self.phase.method.due(step - self.place.first_step, self.place.steps)

    def dimensions(self, params: PyTree) -> int:
        """d: coordinates that a step changes; without a subspace all that aren't frozen."""
        some = params if self.trained is None else eqx.filter(params, self.trained)
        return dimensions(self.phase.method, self.optimizer, some)

    def gradient_epochs(self, steps: int, trials: int, examples: int, directions: int) -> float:
        """What so many steps, and trials of line searches, cost.

        In gradients over all of so many training examples; a forward pass is a third of one.
        """
        passes = self.phase.method.passes(directions) * steps + trials
        return passes * self.phase.batch_size / (3 * examples)

    def state(self, weights: Weights, workers: int, meters: PerWorker) -> TrainState:
        """The state before the phase's first step; a copy, as steps donate it."""
        opt_state = self.optimizer.init(weights.params)
        rounds = find_state(opt_state, LocalState) is not None
        own_state = own(weights.model_state) if rounds else None
        step = jnp.int32(self.place.first_step)
        state = TrainState(*weights, opt_state, step, meters, own_state)
        return jax.tree.map(jnp.array, for_workers(state, workers))


def dimensions(
    method: Method, optimizer: optax.GradientTransformationExtraArgs, params: PyTree
) -> int:
    """d of a method: by its own word, else its coordinates, else D."""
    told = method.directions(params)
    if told is not None:
        return told
    coords: Any = jax.eval_shape(lambda p: coordinates(optimizer.init(p)), params)
    if coords is None:
        return sum(leaf.size for leaf in jax.tree.leaves(params))
    return sum(z.size for z in coords.values())
