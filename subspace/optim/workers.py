"""Workers: what those that share a step tell each other, as collectives."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, PyTree

_T = TypeVar("_T", bound=Any)
_FEW = 2**16  # numbers that it costs nothing to put side by side


class PerWorker(NamedTuple):
    """Arrays of each worker's own, in an optimizer's state: so it says that they are divided.

    Leaves have an axis of workers in front, of length 1 within a worker; all other arrays of a
    state are the same for all.
    """

    each: PyTree


def own(tree: PyTree) -> PerWorker:
    """A worker's arrays, said to be its own."""
    return PerWorker(jax.tree.map(lambda x: jnp.asarray(x)[None], tree))


def mine_of(each: PerWorker) -> PyTree:
    """Within a worker, its arrays."""
    return jax.tree.map(lambda x: x[0], each.each)


class AbstractWorkers(eqx.Module):
    """Those that take a step together. All of them call the same collectives in the same order."""

    @abstractmethod
    def along(self) -> tuple[str, ...]:
        """The axes of a mesh, or of a `vmap`, along which they are."""

    @abstractmethod
    def count(self) -> int:
        """How many there are."""

    @abstractmethod
    def number(self) -> Int[Array, ""]:
        """This worker's place among them, from 0."""

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
    def swap(self, values: _T) -> _T:
        """The row for this worker of every worker's arrays, which have a row for each."""


@final
class OneWorker(AbstractWorkers):
    """Nobody else: there is nothing to tell."""

    def along(self) -> tuple[str, ...]:
        return ()

    def count(self) -> int:
        return 1

    def number(self) -> Int[Array, ""]:
        return jnp.int32(0)

    def mean(self, values: _T) -> _T:
        return values

    def total(self, values: _T) -> _T:
        return values

    def gather(self, values: _T) -> _T:
        return values

    def swap(self, values: _T) -> _T:
        return values


@final
class AxisWorkers(AbstractWorkers):
    """A worker at each place along a mesh axis, or several axes, of which some may be a `vmap`'s.

    Attributes:
        axes: their names, the slowest first.
    """

    axes: tuple[str, ...] = eqx.field(static=True)

    def along(self) -> tuple[str, ...]:
        return self.axes

    def count(self) -> int:
        return math.prod(map(lax.axis_size, self.axes))

    def number(self) -> Int[Array, ""]:
        return lax.axis_index(self.axes)

    def mean(self, values: _T) -> _T:
        return _together(lambda told: lax.pmean(told, self.axes), values)

    def total(self, values: _T) -> _T:
        return _together(lambda told: lax.psum(told, self.axes), values)

    def gather(self, values: _T) -> _T:
        for one in reversed(self.axes):  # one at a time: it may be that of a `vmap`
            values = lax.all_gather(values, one, tiled=True)
        return values

    def swap(self, values: _T) -> _T:
        if len(self.axes) == 1:
            return jax.tree.map(lambda x: lax.all_to_all(x, self.axes[0], 0, 0, tiled=True), values)
        count, me = self.count(), self.number()
        every = self.gather(values)  # along several axes, of which some may be a `vmap`'s
        return jax.tree.map(lambda x: x.reshape(count, count, *x.shape[1:])[:, me], every)


def _together(collective: Callable[[Any], Any], values: _T) -> _T:
    """A collective of a few numbers as one of them all: on a slow link each takes its time."""
    leaves = jax.tree.leaves(values)
    kinds = {jnp.asarray(leaf).dtype for leaf in leaves}
    few = sum(jnp.size(leaf) for leaf in leaves) <= _FEW
    if len(leaves) < 2 or len(kinds) > 1 or not few:
        return collective(values)
    told, unravel = ravel_pytree(values)
    return unravel(collective(told))
