"""CountSketch: every parameter belongs to one direction, with a random sign; O(n), leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from subspace.basis.base import AbstractBasis, Block, cut, joined
from subspace.basis.bits import words_at
from subspace.basis.cells import Grid, counts_of, fold, grid_of, signed, unfold


@final
class CountSketch(AbstractBasis):
    """Directions of disjoint parameters: ``P = S B diag(c)^(-1/2)``.

    S holds a random sign for each parameter, B says to which of the d buckets it belongs, one each,
    and c counts the parameters of a bucket. This is the CountSketch of Charikar, Chen and
    Farach-Colton (2002) with buckets of the same size up to a few per cent. Rows are orthonormal
    for every d ≤ n; as signs are fresh and buckets are rotated by a random amount in each draw,
    ``E[P Pᵀ] = (d/n) I`` up to the sizes of buckets.

    A leaf is folded into cells first, each of parameters that lie a fixed distance apart, and the
    cells of all leaves, one after the other, are dealt to the buckets in turn. So there is one pass
    over the parameters, nothing is concatenated but cells, and a device that holds a block of a
    leaf needs no other block of it.
    """

    entry_rms: ClassVar[float] = 1.0
    by_blocks: ClassVar[bool] = True

    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        return self.project_leaves(key, [v], [Block.all_of(v.shape)], d)

    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        return self.lift_leaves(key, z, [Block.all_of((n,))])[0]

    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        z = self.project(key, v, d)
        return z, self.lift(key, z, v.size)

    def project_leaves(
        self,
        key: Key[Array, ""],
        leaves: Sequence[Array],
        blocks: Sequence[Block],
        d: int,
    ) -> Float[Array, " d"]:
        grids = [grid_of(block.whole, d) for block in blocks]
        cells = [
            fold(key, leaf, block, first, grid).ravel()
            for leaf, block, first, grid in zip(leaves, blocks, _firsts(blocks), grids, strict=True)
        ]
        turn = _turn(key, grids)
        return _dealt(joined(cells), turn, d) * _sizes(blocks, grids, turn, d, leaves[0].dtype)

    def lift_leaves(
        self, key: Key[Array, ""], z: Float[Array, " d"], blocks: Sequence[Block]
    ) -> list[Array]:
        grids = [grid_of(block.whole, z.size) for block in blocks]
        turn = _turn(key, grids)
        cells = _taken(z * _sizes(blocks, grids, turn, z.size, z.dtype), turn, _count(grids))
        parts = cut(cells, [grid.shape for grid in grids])
        return [
            signed(key, unfold(part, block, grid), block, first)
            for part, block, first, grid in zip(parts, blocks, _firsts(blocks), grids, strict=True)
        ]

    def lifter(
        self, key: Key[Array, ""], blocks: Sequence[Block], d: int
    ) -> Callable[[Float[Array, " d"]], list[Array]]:
        """Keeps the signs: with those a lift is n multiplications."""
        grids = [grid_of(block.whole, d) for block in blocks]
        turn = _turn(key, grids)
        units = lax.optimization_barrier(self.lift_leaves(key, jnp.ones(d), blocks))

        def lift(z: Float[Array, " d"]) -> list[Array]:
            parts = cut(_taken(z, turn, _count(grids)), [grid.shape for grid in grids])
            return [
                unfold(part, block, grid) * unit.astype(z.dtype)
                for part, block, grid, unit in zip(parts, blocks, grids, units, strict=True)
            ]

        return lift

    def filter_leaves(
        self, key: Key[Array, ""], leaves: Sequence[Array], blocks: Sequence[Block], d: int
    ) -> tuple[Float[Array, " d"], list[Array]]:
        z = self.project_leaves(key, leaves, blocks, d)
        return z, self.lift_leaves(key, z, blocks)


def _firsts(blocks: Sequence[Block]) -> list[int]:
    """The number of each leaf's first parameter within the compartment."""
    sizes = [prod(block.whole) for block in blocks]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def _count(grids: Sequence[Grid]) -> int:
    return sum(prod(grid.shape) for grid in grids)


def _turn(key: Key[Array, ""], grids: Sequence[Grid]) -> Int[Array, ""]:
    """By how many cells this draw rotates them before they are dealt."""
    word = words_at(key, jnp.uint32(2**32 - 1))  # no parameter's
    return (word % np.uint32(_count(grids))).astype(jnp.int32)


def _dealt(cells: Float[Array, " c"], turn: Int[Array, ""], d: int) -> Float[Array, " d"]:
    """The sum of each bucket: cell j is dealt to bucket ``(j + turn) mod c mod d``."""
    turned = _rotated(cells, cells.size - turn)
    return jnp.sum(jnp.pad(turned, (0, -cells.size % d)).reshape(-1, d), axis=0)


def _taken(buckets: Float[Array, " d"], turn: Int[Array, ""], count: int) -> Float[Array, " c"]:
    """Every cell has its bucket's number: the transpose of `_dealt`."""
    cells = _rotated(jnp.tile(buckets, -(-count // buckets.size))[:count], turn)
    return lax.optimization_barrier(cells)  # or each parameter finds its bucket again


def _rotated(x: Float[Array, " c"], first: Int[Array, ""]) -> Float[Array, " c"]:
    """The array from one of its entries on, and then what is before it."""
    return lax.dynamic_slice(jnp.concatenate([x, x]), (first,), x.shape)


def _sizes(
    blocks: Sequence[Block], grids: Sequence[Grid], turn: Int[Array, ""], d: int, dtype: Any
) -> Float[Array, " d"]:
    """The entries' size in each direction: one over the root of the parameters in its bucket."""
    counts = [counts_of(block.whole, grid) for block, grid in zip(blocks, grids, strict=True)]
    return lax.rsqrt(_dealt(jnp.asarray(np.concatenate(counts)), turn, d).astype(dtype))
