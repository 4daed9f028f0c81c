"""CountSketch: every parameter belongs to one direction, with a random sign; O(n), leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from subspace.basis.base import AbstractBasis, Block, cut, joined
from subspace.basis.bits import flip, words_at

_MOST_CELLS = 1 << 16  # of a leaf, unless d needs more
_CELLS_OF_A_DIRECTION = 8
_LONG = 1 << 22  # parameters of a leaf, from which on memory decides
_SHARE = 32  # parameters to a cell, where there are enough of them


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
        grids = [_grid(block.whole, d) for block in blocks]
        cells = [
            _fold(key, leaf, block, first, grid).ravel()
            for leaf, block, first, grid in zip(leaves, blocks, _firsts(blocks), grids, strict=True)
        ]
        turn = _turn(key, grids)
        return _dealt(joined(cells), turn, d) * _sizes(blocks, grids, turn, d, leaves[0].dtype)

    def lift_leaves(
        self, key: Key[Array, ""], z: Float[Array, " d"], blocks: Sequence[Block]
    ) -> list[Array]:
        grids = [_grid(block.whole, z.size) for block in blocks]
        turn = _turn(key, grids)
        cells = _taken(z * _sizes(blocks, grids, turn, z.size, z.dtype), turn, _count(grids))
        parts = cut(cells, [grid.shape for grid in grids])
        return [
            _signed(key, _unfold(part, block, grid), block, first)
            for part, block, first, grid in zip(parts, blocks, _firsts(blocks), grids, strict=True)
        ]

    def lifter(
        self, key: Key[Array, ""], blocks: Sequence[Block], d: int
    ) -> Callable[[Float[Array, " d"]], list[Array]]:
        """Keeps the signs: with those a lift is n multiplications."""
        grids = [_grid(block.whole, d) for block in blocks]
        turn = _turn(key, grids)
        units = lax.optimization_barrier(self.lift_leaves(key, jnp.ones(d), blocks))

        def lift(z: Float[Array, " d"]) -> list[Array]:
            parts = cut(_taken(z, turn, _count(grids)), [grid.shape for grid in grids])
            return [
                _unfold(part, block, grid) * unit.astype(z.dtype)
                for part, block, grid, unit in zip(parts, blocks, grids, units, strict=True)
            ]

        return lift

    def filter_leaves(
        self, key: Key[Array, ""], leaves: Sequence[Array], blocks: Sequence[Block], d: int
    ) -> tuple[Float[Array, " d"], list[Array]]:
        z = self.project_leaves(key, leaves, blocks, d)
        return z, self.lift_leaves(key, z, blocks)


class _Grid(NamedTuple):
    """The cells of a leaf: its entry (p, i, q) belongs to cell (i mod rows, q).

    p stands for all axes before ``axis``, i for that one, q for those behind it.
    """

    axis: int
    shape: tuple[int, ...]
    """(rows, lengths of the axes behind)."""


def _grid(shape: tuple[int, ...], d: int) -> _Grid:
    """As many of the fastest axes as there are to be cells, and a power of two of the next."""
    size = prod(shape)
    most = min(size, max(_CELLS_OF_A_DIRECTION * d, min(size // _SHARE, _MOST_CELLS)))
    if not shape:
        return _Grid(0, (1,))
    axis = len(shape) - 1
    while axis > 0 and prod(shape[axis:]) <= most:
        axis -= 1
    rows = _rows(shape[axis], max(1, most // prod(shape[axis + 1 :])))
    return _Grid(axis, (rows, *shape[axis + 1 :]))


def _rows(length: int, most: int) -> int:
    """All of an axis, or what divides it evenly if half as many can, or a power of two."""
    if length <= most:
        return length
    even = (rows for rows in range(most, most // 2, -1) if length % rows == 0)
    return next(even, 1 << (most.bit_length() - 1))


def _firsts(blocks: Sequence[Block]) -> list[int]:
    """The number of each leaf's first parameter within the compartment."""
    sizes = [prod(block.whole) for block in blocks]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def _signed(
    key: Key[Array, ""], x: Float[Array, "*s"], block: Block, first: int
) -> Float[Array, "*s"]:
    """A block times its parameters' random signs."""
    index = jnp.uint32(first % 2**32)
    for axis, start in enumerate(block.start):
        along = lax.broadcasted_iota(jnp.uint32, x.shape, axis) + jnp.asarray(start, jnp.uint32)
        index = index + along * np.uint32(prod(block.whole[axis + 1 :]) % 2**32)
    return flip(words_at(key, jnp.broadcast_to(index, x.shape)), x)


def _fold(key: Key[Array, ""], x: Array, block: Block, first: int, grid: _Grid) -> Array:
    """The sum of each cell over a block, with signs; a row of cells, or the grid."""
    width, length = prod(grid.shape), x.shape[grid.axis] if x.ndim else 1
    if block.divided or (grid.axis > 0 and length % grid.shape[0]):
        return _folded(_signed(key, x, block, first), block, grid)
    count = x.size // width  # entries that are ``width`` apart share a cell

    def at_once(x: Array) -> Array:
        signed = _signed(key, x, block, first).ravel()
        cells = jnp.sum(signed[: count * width].reshape(count, width), axis=0)
        return cells.at[: x.size - count * width].add(signed[count * width :])

    def in_turn(x: Array) -> Array:
        cells = _sum_of_rows(key, x.ravel(), count, width, first)
        rest = x.ravel()[count * width :]
        signed = _signed(key, rest, Block.all_of(rest.shape), first + count * width)
        return cells.at[: rest.size].add(signed)

    if x.size < _LONG:
        return at_once(x)
    # XLA's CPU compiler would write all signed numbers to memory before it adds them
    return lax.platform_dependent(x, cpu=in_turn, default=at_once)


def _sum_of_rows(
    key: Key[Array, ""], x: Float[Array, " n"], count: int, width: int, first: int
) -> Float[Array, " width"]:
    """Of so many signed rows that lie one behind the other, added one by one."""
    along = jnp.arange(width, dtype=jnp.uint32) + np.uint32(first % 2**32)

    def add(i: Array, total: Array) -> Array:
        row = lax.dynamic_slice(x, (i * width,), (width,))
        return total + flip(words_at(key, along + (i * width).astype(jnp.uint32)), row)

    return lax.fori_loop(0, count, add, 0 * x[:width])


def _folded(x: Array, block: Block, grid: _Grid) -> Array:
    """The sum of each cell over any block."""
    rows, axis = grid.shape[0], grid.axis
    length, behind = (1, ()) if x.ndim == 0 else (x.shape[axis], x.shape[axis + 1 :])
    x = x.reshape(-1, length, *behind)
    whole = length // rows * rows
    cells = jnp.sum(x[:, :whole].reshape(len(x) * (whole // rows), rows, *behind), axis=0)
    cells = cells.at[: length - whole].add(jnp.sum(x[:, whole:], axis=0))
    if not block.divided:
        return cells
    start = block.start[axis:]
    around = jnp.roll(cells, start[0], axis=0)
    return lax.dynamic_update_slice(jnp.zeros(grid.shape, x.dtype), around, (0, *start[1:]))


def _unfold(cells: Array, block: Block, grid: _Grid) -> Array:
    """A block in which each entry has its cell's number: the transpose of `_fold`."""
    rows, axis, shape = grid.shape[0], grid.axis, block.part
    length, behind = (1, ()) if not shape else (shape[axis], shape[axis + 1 :])
    if block.divided:
        start = block.start[axis:]
        part = lax.dynamic_slice(cells, (0, *start[1:]), (rows, *behind))
        cells = jnp.roll(part, -start[0], axis=0)
    times = -(-length // rows)
    tiled = jnp.broadcast_to(cells, (times, rows, *behind)).reshape(times * rows, *behind)
    return jnp.broadcast_to(tiled[:length], (*shape[:axis], length, *behind)).reshape(shape)


def _count(grids: Sequence[_Grid]) -> int:
    return sum(prod(grid.shape) for grid in grids)


def _turn(key: Key[Array, ""], grids: Sequence[_Grid]) -> Int[Array, ""]:
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
    blocks: Sequence[Block], grids: Sequence[_Grid], turn: Int[Array, ""], d: int, dtype: Any
) -> Float[Array, " d"]:
    """The entries' size in each direction: one over the root of the parameters in its bucket."""
    counts = [_counts(block.whole, grid) for block, grid in zip(blocks, grids, strict=True)]
    return lax.rsqrt(_dealt(jnp.asarray(np.concatenate(counts)), turn, d).astype(dtype))


def _counts(shape: tuple[int, ...], grid: _Grid) -> np.ndarray:
    """The parameters of each cell of a leaf."""
    length = shape[grid.axis] if shape else 1
    each = np.bincount(np.arange(length) % grid.shape[0]) * prod(shape[: grid.axis])
    along = each.astype(np.float32).reshape(-1, *[1] * (len(grid.shape) - 1))
    return np.broadcast_to(along, grid.shape).ravel()
