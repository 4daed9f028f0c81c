"""A basis of one compartment: the matrix P as maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key


class Block(NamedTuple):
    """An array, or the part of it that a device of a mesh holds; without numbers.

    Attributes:
        whole: the array's shape.
        part: this block's.
        axes: for each axis of the array the axes of the mesh that divide it, the slowest first.
    """

    whole: tuple[int, ...]
    part: tuple[int, ...]
    axes: tuple[tuple[str, ...], ...]

    @classmethod
    def all_of(cls, shape: tuple[int, ...]) -> Block:
        """An array that isn't divided."""
        return cls(shape, shape, ((),) * len(shape))

    @property
    def divided(self) -> bool:
        return any(self.axes)

    @property
    def start(self) -> list[int | Int[Array, ""]]:
        """The index of the block's first entry, on the device that asks."""
        axes = zip(self.axes, self.part, strict=True)
        return [lax.axis_index(names) * size if names else 0 for names, size in axes]


class AbstractBasis(eqx.Module):
    """The ``(n, d)`` matrix P of one compartment, as two maps; it is never stored.

    ``key`` names the draw: the same key gives the same P. Columns have unit norm, and over keys
    ``E[P Pᵀ] = (d/n) I``.
    """

    entry_rms: eqx.AbstractClassVar[float]
    """Root mean square of an entry before normalisation, for ``scale="paper"``."""

    by_blocks: ClassVar[bool] = False
    """Whether a device can work on blocks of arrays by itself; the sum over all is the whole's."""

    def stretch(self, d: int, n: int) -> float:
        """By how much ``P Pᵀ`` stretches what it keeps: ``E[(P Pᵀ)²] = stretch · E[P Pᵀ]``.

        1 of orthonormal columns. Above 2, ``I - P Pᵀ`` makes vectors longer in the mean square.
        """
        del d, n
        return 1.0

    @abstractmethod
    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        """``Pᵀ v``."""

    @abstractmethod
    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        """``P z``."""

    @abstractmethod
    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        """``z = Pᵀ v`` and ``P z``, as `project` and `lift`, in one pass where that is faster."""

    def project_leaves(
        self,
        key: Key[Array, ""],
        leaves: Sequence[Array],
        blocks: Sequence[Block],
        d: int,
    ) -> Float[Array, " d"]:
        """``Pᵀ v`` where v is in pieces: arrays of any shape, each raveled, one after another.

        ``blocks`` says of which; others than whole arrays are for bases `by_blocks`.
        """
        del blocks
        return self.project(key, joined(leaves), d)

    def lift_leaves(
        self, key: Key[Array, ""], z: Float[Array, " d"], blocks: Sequence[Block]
    ) -> list[Array]:
        """``P z`` in pieces: an array of each block's shape."""
        shapes = [block.whole for block in blocks]
        return cut(self.lift(key, z, sum(map(prod, shapes))), shapes)

    def lifter(
        self, key: Key[Array, ""], blocks: Sequence[Block], d: int
    ) -> Callable[[Float[Array, " d"]], list[Array]]:
        """`lift_leaves` of one draw, for a loop: what doesn't depend on z is computed here."""
        del d
        return lambda z: self.lift_leaves(key, z, blocks)

    def filter_leaves(
        self,
        key: Key[Array, ""],
        leaves: Sequence[Array],
        blocks: Sequence[Block],
        d: int,
    ) -> tuple[Float[Array, " d"], list[Array]]:
        """``z = Pᵀ v`` and ``P z``, in pieces."""
        z, flat = self.filter(key, joined(leaves), d)
        return z, cut(flat, [block.whole for block in blocks])


def joined(arrays: Sequence[Array]) -> Float[Array, " n"]:
    """Arrays raveled, one after another."""
    flats = [array.ravel() for array in arrays]
    return flats[0] if len(flats) == 1 else jnp.concatenate(flats)


def cut(flat: Float[Array, " n"], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The inverse of `joined`."""
    arrays, first = [], 0
    for shape in shapes:
        size = prod(shape)
        arrays.append(flat[first : first + size].reshape(shape))
        first += size
    return arrays
