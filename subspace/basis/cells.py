"""The cells of a leaf: entries that lie a fixed distance apart, for CountSketch."""

from __future__ import annotations

import functools
from math import gcd, lcm, prod
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from subspace.basis.base import Block
from subspace.basis.bits import flip, words_at

_MOST_CELLS = 1 << 16  # of a leaf, unless d needs more
_CELLS_OF_A_DIRECTION = 8
_SHARE = 32  # parameters to a cell, where there are enough of them
_LONG = 1 << 20  # parameters of a leaf, from which on memory decides
_TILE = 8 * 128  # numbers of a tile of a TPU's memory


class Grid(NamedTuple):
    """The cells of a leaf: its entry (p, i, q) belongs to cell (i mod rows, q).

    p stands for all axes before ``axis``, i for that one, q for those behind it.
    """

    axis: int
    shape: tuple[int, ...]
    """(rows, lengths of the axes behind)."""


def grid_of(shape: tuple[int, ...], d: int) -> Grid:
    """As many of the fastest axes as there are to be cells, and a power of two of the next."""
    size = prod(shape)
    most = min(size, max(_CELLS_OF_A_DIRECTION * d, min(size // _SHARE, _MOST_CELLS)))
    if not shape:
        return Grid(0, (1,))
    axis = len(shape) - 1
    while axis > 0 and prod(shape[axis:]) <= most:
        axis -= 1
    behind = prod(shape[axis + 1 :])
    return Grid(axis, (_rows(shape[axis], behind, max(1, most // behind)), *shape[axis + 1 :]))


@functools.cache
def _rows(length: int, behind: int, most: int) -> int:
    """All of an axis, or what divides it evenly if a quarter as many can, or a power of two.

    Evenly, so that cells repeat at one distance through the whole leaf; the more whole tiles of
    memory they fill the better.
    """
    if length <= most:
        return length
    even = [rows for rows in range(most, most // 4, -1) if length % rows == 0]
    power = 1 << (most.bit_length() - 1)
    return max(even, key=lambda rows: gcd(rows * behind, _TILE), default=power)


def counts_of(shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """The parameters of each cell of a leaf."""
    length = shape[grid.axis] if shape else 1
    each = np.bincount(np.arange(length) % grid.shape[0]) * prod(shape[: grid.axis])
    along = each.astype(np.float32).reshape(-1, *[1] * (len(grid.shape) - 1))
    return np.broadcast_to(along, grid.shape).ravel()


def signed(
    key: Key[Array, ""], x: Float[Array, "*s"], block: Block, first: int
) -> Float[Array, "*s"]:
    """A block times its parameters' random signs."""
    index = jnp.uint32(first % 2**32)
    for axis, start in enumerate(block.start):
        along = lax.broadcasted_iota(jnp.uint32, x.shape, axis) + jnp.asarray(start, jnp.uint32)
        index = index + along * np.uint32(prod(block.whole[axis + 1 :]) % 2**32)
    return flip(words_at(key, jnp.broadcast_to(index, x.shape)), x)


def fold(key: Key[Array, ""], x: Array, block: Block, first: int, grid: Grid) -> Array:
    """The sum of each cell over a block, with signs; a row of cells, or the grid."""
    width, length = prod(grid.shape), x.shape[grid.axis] if x.ndim else 1
    if block.divided or (grid.axis > 0 and length % grid.shape[0]):
        return _by_axes(signed(key, x, block, first), block, grid)
    if x.size < _LONG:
        return _by_units(key, x.ravel(), width, first)
    # XLA's CPU compiler would write all signed numbers to memory before it adds them, and a TPU
    # copies what isn't reshaped by whole tiles of its memory
    if x.ndim == 1:
        unit = _whole_tiles(width, x.size)
        elsewhere = lambda x: _by_units(key, x, unit, first).reshape(-1, width).sum(0)  # noqa: E731
    else:
        elsewhere = lambda x: _by_axes(signed(key, x, block, first), block, grid).ravel()  # noqa: E731
    return lax.platform_dependent(
        x, cpu=lambda x: _in_turn(key, x.ravel(), width, first), default=elsewhere
    )


def _by_units(key: Key[Array, ""], x: Float[Array, " n"], unit: int, first: int) -> Array:
    """The sum of entries that are ``unit`` apart, shape (unit,)."""
    count = x.size // unit
    whole = x[: count * unit].reshape(count, *_lanes(unit))
    sums = jnp.sum(signed(key, whole, Block.all_of(whole.shape), first), axis=0).ravel()
    rest = x[count * unit :]
    rest = signed(key, rest, Block.all_of(rest.shape), first + count * unit)
    return sums.at[: rest.size].add(rest)


def _in_turn(key: Key[Array, ""], x: Float[Array, " n"], unit: int, first: int) -> Array:
    """The same, block after block, in no memory of its own."""
    count = x.size // unit
    along = jnp.arange(unit, dtype=jnp.uint32) + np.uint32(first % 2**32)

    def add(i: Array, total: Array) -> Array:
        row = lax.dynamic_slice(x, (i * unit,), (unit,))
        return total + flip(words_at(key, along + (i * unit).astype(jnp.uint32)), row)

    sums = lax.fori_loop(0, count, add, 0 * x[:unit])
    rest = x[count * unit :]
    rest = signed(key, rest, Block.all_of(rest.shape), first + count * unit)
    return sums.at[: rest.size].add(rest)


def _by_axes(x: Array, block: Block, grid: Grid) -> Array:
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


def unfold(cells: Array, block: Block, grid: Grid) -> Array:
    """A block in which each entry has its cell's number: the transpose of `fold`."""
    rows, axis, shape = grid.shape[0], grid.axis, block.part
    length, behind = (1, ()) if not shape else (shape[axis], shape[axis + 1 :])
    if block.divided:
        start = block.start[axis:]
        part = lax.dynamic_slice(cells, (0, *start[1:]), (rows, *behind))
        cells = jnp.roll(part, -start[0], axis=0)
    elif len(shape) == 1 and length >= _LONG:
        unit = _whole_tiles(rows, length)
        return lax.platform_dependent(
            cells,
            cpu=lambda x: _tiled(x, length),
            default=lambda x: _tiled_by_units(jnp.tile(x, unit // rows), length),
        )
    tiled = _tiled(cells, length)
    return jnp.broadcast_to(tiled, (*shape[:axis], length, *behind)).reshape(shape)


def _tiled(cells: Array, length: int) -> Array:
    """Cells again and again along the first axis."""
    rows, *behind = cells.shape
    times = -(-length // rows)
    return jnp.broadcast_to(cells, (times, *cells.shape)).reshape(times * rows, *behind)[:length]


def _tiled_by_units(unit: Float[Array, " u"], length: int) -> Float[Array, " n"]:
    """The same of one axis, by whole tiles of memory where a unit consists of them."""
    lanes = unit.reshape(_lanes(unit.size))
    times = -(-length // unit.size)
    return jnp.broadcast_to(lanes, (times, *lanes.shape)).ravel()[:length]


def _lanes(unit: int) -> tuple[int, ...]:
    return (unit // 128, 128) if unit % _TILE == 0 else (unit,)


def _whole_tiles(width: int, length: int) -> int:
    """A multiple of a width that fills tiles of a TPU's memory, if not too long for an array."""
    whole = lcm(width, _TILE)
    return whole if 4 * whole <= length else width
