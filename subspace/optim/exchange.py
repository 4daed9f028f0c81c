"""Exchanges: which directions each worker measures, and how workers combine what they measured."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, TypeVar, final

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.joint import JointSubspace
from subspace.spaces.random import RandomSubspace

_T = TypeVar("_T", bound=Any)
Axis = str | tuple[str, ...]


class AbstractExchange(eqx.Module):
    """How workers share the measuring of a subspace, and agree on the step that all take.

    ``joint`` is the subspace that all step in, ``mine`` the part of it that a worker measures, and
    calling the exchange turns what each measured there into coordinates in the joint one.
    """

    @abstractmethod
    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        """The subspace that all workers step in, made from the one that a method is given."""

    @abstractmethod
    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        """The part of a joint subspace in which this worker measures."""

    @abstractmethod
    def __call__(self, measured: Coords) -> Coords:
        """What all workers agree on, from what this one measured in its part."""

    @abstractmethod
    def mean(self, values: _T) -> _T:
        """The mean over workers of any pytree of arrays."""

    @abstractmethod
    def total(self, values: _T) -> _T:
        """Their sum over workers."""

    @abstractmethod
    def gather(self, values: _T) -> _T:
        """Every worker's arrays, the rows of one after those of another."""

    @abstractmethod
    def number(self) -> Int[Array, ""]:
        """This worker's place among them, from 0."""

    @abstractmethod
    def trivial(self) -> bool:
        """Whether what this worker measured is what all agree on, as there is no other."""

    @abstractmethod
    def shares_directions(self) -> bool:
        """Whether every worker measures along all directions."""


class OneWorker(AbstractExchange):
    """What nobody else has a part in."""

    def mean(self, values: _T) -> _T:
        return values

    def total(self, values: _T) -> _T:
        return values

    def gather(self, values: _T) -> _T:
        return values

    def number(self) -> Int[Array, ""]:
        return jnp.int32(0)


@final
class Alone(OneWorker):
    """One worker: nothing to exchange."""

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return space

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords) -> Coords:
        return measured

    def trivial(self) -> bool:
        return True

    def shares_directions(self) -> bool:
        return True


class _OnAxis(AbstractExchange):
    """Workers along a mesh axis, or several."""

    @property
    @abstractmethod
    def axes(self) -> tuple[str, ...]:
        """Their names."""

    def mean(self, values: _T) -> _T:
        return lax.pmean(values, self.axes)

    def total(self, values: _T) -> _T:
        return lax.psum(values, self.axes)

    def gather(self, values: _T) -> _T:
        for one in reversed(self.axes):  # one at a time: it may be that of a `vmap`
            values = lax.all_gather(values, one, tiled=True)
        return values

    def number(self) -> Int[Array, ""]:
        return lax.axis_index(self.axes)


@final
class Mean(_OnAxis):
    """One subspace for all; the mean of its coordinates over workers: d numbers a step.

    With a share of the batch for each worker the step doesn't depend on how many there are.

    Attributes:
        axis: the mesh axis, or axes, of the workers.
        replayable: step through the coordinates even where there is one worker, so that the same
            coordinates give the same step, bit for bit.
    """

    axis: Axis = eqx.field(static=True, default="data")
    replayable: bool = eqx.field(static=True, default=False)

    @property
    def axes(self) -> tuple[str, ...]:
        return _axes(self.axis)

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return space

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords) -> Coords:
        return self.mean(measured)

    def trivial(self) -> bool:
        return not self.replayable and math.prod(map(lax.axis_size, self.axes)) == 1

    def shares_directions(self) -> bool:
        return True


COMBINE = ("sum", "mean")


@final
class Gather(_OnAxis):
    """Directions of each worker's own; all coordinates are gathered.

    Worker k measures its gradient g_k along its directions P_k, all gather the coordinates and
    rebuild all directions from their seeds. ``combine="sum"``, as the RBD paper's code does it,
    steps by ``Σ_k P_k P_kᵀ g_k``, in expectation as far as one worker with all the directions does;
    ``"mean"`` by a K-th of it, as far as one worker does with those of one, with less noise. Either
    way the learning rate stays that of the one worker.

    Without ``split`` each worker has d directions, and a share of the batch (algorithm 1, right, of
    the RBD paper): K·d numbers a step. With it they divide the d directions, on one mini-batch that
    all see: d numbers a step, and less work where measuring is what costs, as in evolution
    strategies.

    Attributes:
        workers: K.
        axis: the mesh axis, or axes, of the workers.
        split: divide the directions; K divides the dimensions of every compartment.
        combine: ``"sum"`` or ``"mean"``.
    """

    workers: int = eqx.field(static=True)
    axis: Axis = eqx.field(static=True, default="data")
    split: bool = eqx.field(static=True, default=False)
    combine: str = eqx.field(static=True, default="sum")

    def __check_init__(self):
        if self.combine not in COMBINE:
            raise InvalidInput(
                "combine", f"unknown combination {self.combine!r}; use {', '.join(COMBINE)}"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        return _axes(self.axis)

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        if not isinstance(space, RandomSubspace):
            raise InvalidInput("exchange", "only random directions can be divided; use mean")
        part = space.share(self.workers) if self.split else space
        scale = 1.0 if self.combine == "sum" else self.workers**-0.5
        return JointSubspace(part, self.workers, scale)

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        assert isinstance(joint, JointSubspace)
        return joint.part(self.number())

    def __call__(self, measured: Coords) -> Coords:
        return self.gather(measured)

    def trivial(self) -> bool:
        return False

    def shares_directions(self) -> bool:
        return False


def _axes(axis: Axis) -> tuple[str, ...]:
    return (axis,) if isinstance(axis, str) else axis
