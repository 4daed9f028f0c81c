"""A phase as it runs: its place among the run's epochs and steps, its optimizer, its step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.config.phase import Phase
from subspace.optim.in_subspace import coordinates
from subspace.spaces.partition import allocate, divide
from subspace.store.weights import Weights
from subspace.train.mesh import for_workers
from subspace.train.step import TrainState, no_meters


@dataclass(frozen=True)
class Span:
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
        every = self.phase.sample_every
        return self.steps if every == "epoch" else every  # pyright: ignore[reportReturnType]

    def refresh_due(self, step: int) -> bool | None:
        """Whether a step refreshes the curvature; None for a method without it."""
        every = self.phase.refresh
        return None if every is None else (step - self.first_step) % every == 0

    @property
    def samples(self) -> int:
        """How many it takes, the first at its start."""
        every = self.sample_every
        return 0 if every is None else (self.end_step - self.first_step) // every + 1


def spans(phases: Sequence[Phase], examples: int) -> tuple[Span, ...]:
    """The phases' places in a run over so many training examples."""
    placed: list[Span] = []
    epoch = step = 0
    for index, phase in enumerate(phases):
        span = Span(index, phase, examples // phase.batch_size, epoch, step)
        placed.append(span)
        epoch, step = span.end_epoch, span.end_step
    return tuple(placed)


@dataclass(frozen=True)
class Stage:
    """A phase that is ready to run.

    Attributes:
        train_step: see `subspace.train.step.make_train_step`.
        gradient: see `subspace.train.step.make_gradient`.
        start: the weights that it starts from, if not those of the phase before it.
    """

    span: Span
    optimizer: optax.GradientTransformationExtraArgs
    train_step: Callable[..., TrainState]
    gradient: Callable[..., PyTree]
    start: Weights | None

    @property
    def phase(self) -> Phase:
        return self.span.phase

    def state(self, weights: Weights, workers: int) -> TrainState:
        """The state before the phase's first step; a copy, as steps donate it."""
        opt_state = for_workers(self.optimizer.init(weights.params), workers)
        step = jnp.int32(self.span.first_step)
        return jax.tree.map(jnp.array, TrainState(*weights, opt_state, step, no_meters()))


def dimensions(
    phase: Phase, optimizer: optax.GradientTransformationExtraArgs, params: PyTree
) -> int:
    """d: coordinates that a step changes; D for a method without a subspace."""
    if phase.in_law:  # which has no coordinates
        partition = divide(params, phase.compartments or "whole")
        return sum(
            allocate(partition.sizes, int(phase.dim or 0), phase.allocate or "same").values()
        )
    coords: Any = jax.eval_shape(lambda p: coordinates(optimizer.init(p)), params)
    if coords is None:
        return sum(leaf.size for leaf in jax.tree.leaves(params))
    return sum(z.size for z in coords.values())
