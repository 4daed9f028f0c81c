"""One draw of random directions, of all compartments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from subspace.basis.base import AbstractBasis, Block
from subspace.spaces.allotment import Allotment
from subspace.spaces.base import Coords

MANY = 8  # compartments alike, from which on one program in a loop saves more than it costs


@dataclass(frozen=True)
class Directions:
    """P, as maps between lists of leaves and coordinates.

    Attributes:
        basis: what it consists of.
        allotment: how it is shared out.
        keys: name the draw of each compartment.
        blocks: of the leaves, where a device has a part of each only; None for all.
    """

    basis: AbstractBasis
    allotment: Allotment
    keys: Key[Array, " compartments"]
    blocks: list[Block] | None

    def project(self, leaves: list[Array]) -> Coords:
        """``Pᵀ v``; of blocks, their part of it."""

        def one(i: int, key: Key[Array, ""], pieces: list[Array]) -> Array:
            z = self.basis.project_leaves(key, pieces, self._blocks(i), self.allotment.dims[i])
            return _times(self.allotment.scales[i], z)

        return self._named(self._each(one, list(self.allotment.partition.take(leaves).values())))

    def lift(self, coords: Coords) -> list[Array]:
        """``P z``, or these blocks of it."""

        def one(i: int, key: Key[Array, ""], z: Array) -> list[Array]:
            scaled = _times(self.allotment.scales[i], z)
            return self.basis.lift_leaves(key, scaled, self._blocks(i))

        names = self.allotment.partition.sizes
        return self._leaves(self._each(one, [coords[name] for name in names]))

    def lifter(self) -> Callable[[Coords], list[Array]]:
        """`lift`, for a loop."""
        names = list(self.allotment.partition.sizes)
        each = [
            self.basis.lifter(self.keys[i], self._blocks(i), d)
            for i, d in enumerate(self.allotment.dims)
        ]

        def lift(coords: Coords) -> list[Array]:
            scaled = map(_times, self.allotment.scales, (coords[name] for name in names))
            return self._leaves([lifted(z) for lifted, z in zip(each, scaled, strict=True)])

        return lift

    def filter(self, leaves: list[Array]) -> tuple[Coords, list[Array]]:
        """``z = Pᵀ v`` and ``P z``, of whole leaves."""

        def one(i: int, key: Key[Array, ""], pieces: list[Array]) -> tuple[Array, list[Array]]:
            d, scale = self.allotment.dims[i], self.allotment.scales[i]
            z, lifted = self.basis.filter_leaves(key, pieces, self._blocks(i), d)
            return _times(scale, z), [_times(scale**2, part) for part in lifted]

        found = self._each(one, list(self.allotment.partition.take(leaves).values()))
        return self._named([z for z, _ in found]), self._leaves([parts for _, parts in found])

    def _each(self, f: Callable[..., Any], args: list[Any]) -> list[Any]:
        """``f(i, key, argument)`` of each compartment.

        Many that are alike share one program, which takes 1/20 of a second and more to compile.
        """
        found: list[Any] = [None] * len(args)
        for alike in self._groups():
            if len(alike) < MANY:
                for i in alike:
                    found[i] = f(i, self.keys[i], args[i])
                continue
            stacked = jax.tree.map(lambda *x: jnp.stack(x), *(args[i] for i in alike))
            first, keys = alike[0], self.keys[jnp.asarray(alike)]
            results = lax.map(lambda one, first=first: f(first, *one), (keys, stacked))
            for place, i in enumerate(alike):
                found[i] = jax.tree.map(lambda x, place=place: x[place], results)
        return found

    def _groups(self) -> list[list[int]]:
        """The numbers of compartments, those together that differ in their keys alone."""
        groups: dict[Any, list[int]] = {}
        pieces = self.allotment.partition.pieces.values()
        for i, of_one in enumerate(pieces):
            types = tuple(piece.dtype for piece in of_one)
            each = (self.allotment.dims[i], self.allotment.scales[i])
            kind = (tuple(self._blocks(i)), types, *each)
            groups.setdefault(kind, []).append(i)
        return list(groups.values())

    def _blocks(self, i: int) -> list[Block]:
        """The part of each piece of a compartment."""
        pieces = list(self.allotment.partition.pieces.values())[i]
        if self.blocks is None:
            return [Block.all_of(piece.shape) for piece in pieces]
        return [self.blocks[piece.leaf] for piece in pieces]

    def _named(self, coords: list[Array]) -> Coords:
        return dict(zip(self.allotment.partition.sizes, coords, strict=True))

    def _leaves(self, parts: list[list[Array]]) -> list[Array]:
        partition = self.allotment.partition
        shapes = [leaf.shape for leaf in partition.leaves]
        if self.blocks is not None:
            shapes = [block.part for block in self.blocks]
        return partition.put(dict(zip(partition.sizes, parts, strict=True)), shapes)


def _times(scale: float, x: Array) -> Array:
    return x if scale == 1 else scale * x
