"""Subspaces that lie where it matters: random directions of an adapter's few numbers."""

from __future__ import annotations

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from subspace.errors import InvalidInput, one_of
from subspace.spaces.adapter import RANK, Choice, choose
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.curved import CurvedSubspace
from subspace.spaces.random import DIM, RandomSubspace

KINDS = ("factors", "cores")
_FRAMES = 2**31 - 1  # no compartment's number

Parts = dict[str, dict[str, Array]]
"""An adapter's numbers: ``left`` and ``right`` factors or ``core`` of each matrix, and ``direct``,
by the number of the leaf."""


@final
class FactoredSubspace(CurvedSubspace):
    """``params(z) = base + merge(P z)``: d numbers, spread by an isometry over an adapter's.

    ``"factors"`` are those of LoRA, ``ΔW = (A + A') B`` of rank r with A orthonormal and random and
    A', B the adapter's numbers, so that P z = 0 is no change (Hu et al. 2021, arXiv 2106.09685; one
    small vector for all of them is Uni-LoRA's, 2506.00799). ``"cores"`` are LoRA-XS's
    (2405.17604): ``ΔW = U C Vᵀ``, with the first r singular vectors of W around r×r numbers.

    A, U and V are drawn or computed, not trained, and with the seed follow from the base.

    Attributes:
        spread: P, over the adapter's numbers.
        frames: A of each matrix, or U and V.
        at: the current coordinates.
    """

    spread: RandomSubspace
    frames: list[tuple[Array, ...]]
    at: Coords
    kind: str = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    choice: Choice = eqx.field(static=True)

    def __init__(
        self,
        params: PyTree,
        *,
        dim: int = DIM,
        kind: str = "factors",
        rank: int = RANK,
        targets: str | None = None,
        direct: str | None = None,
        redraw_every: int | None = None,
        seed: int | Array = 0,
        **spread: Any,
    ):
        """Describes an adapter of ``params``.

        Args:
            params: a pytree of floating-point arrays, for ``"factors"`` of their
                `jax.ShapeDtypeStruct`s too.
            dim: d; as many as the adapter has numbers are these numbers themselves.
            kind: ``"factors"`` or ``"cores"``.
            rank: r.
            targets, direct: see `subspace.spaces.adapter.choose`.
            redraw_every: steps between redraws of P and A; None keeps the first.
            seed: names P and A, 0 to 2³² - 1.
            spread: what else `RandomSubspace` takes, for P.

        Raises:
            InvalidInput: an argument that can't be used; says which and what to do.
        """
        self.kind = one_of("kind", kind, KINDS)
        self.choice = choose(params, targets, direct)
        self.rank = self._checked_rank(rank)
        parts, numbers = self._parts(), self.largest()
        if dim > numbers:
            raise InvalidInput("dim", f"the adapter has {numbers:,} numbers; use at most so many")
        if dim == numbers:
            spread |= {"basis": "coordinate"}  # each number by itself
        self.spread = RandomSubspace(parts, dim=dim, redraw_every=redraw_every, seed=seed, **spread)
        self.at = self.spread.origin()
        self.frames = self._drawn(self.spread) if kind == "factors" else self._vectors(params)

    @property
    def dimensions(self) -> int:
        """d."""
        return self.spread.dimensions

    def displacement(self, coords: Coords) -> PyTree:
        return self.choice.whole(self._changes(coords))

    def fixed(self) -> bool:
        return self.spread.fixed()

    def largest(self) -> int:
        """How many numbers the adapter has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._parts()))

    def shifted(self, params: PyTree, coords: Coords) -> PyTree:
        """As of others; the leaves that the adapter doesn't change are the given arrays."""
        leaves = self.choice.leaves_of(params)
        for i, change in self._changes(coords).items():
            leaf = leaves[i]
            leaves[i] = leaf + change.reshape(leaf.shape).astype(leaf.dtype)
        return jax.tree.unflatten(self.choice.treedef, leaves)

    def _changes(self, coords: Coords) -> dict[int, Array]:
        """What is added to each leaf that the adapter changes, by its number."""
        parts: Parts = self.spread.lift(coords)
        changed = {int(i): part for i, part in parts.get("direct", {}).items()}
        for matrix, frames in zip(self.choice.matrices, self.frames, strict=True):
            key = str(matrix.leaf)
            if self.kind == "cores":
                changed[matrix.leaf] = frames[0] @ parts["core"][key] @ frames[1]
            else:
                changed[matrix.leaf] = (frames[0] + parts["left"][key]) @ parts["right"][key]
        return changed

    def stretch(self) -> float:
        """That of P where each step starts at no change, or the chart is flat; else unknown."""
        flat = self.kind == "cores" or self.spread.redraw_every == 1
        return self.spread.stretch() if flat else float("inf")

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        spread, coords = self.spread.redraw(coords)
        assert isinstance(spread, RandomSubspace)
        frames = self.frames
        if self.kind == "factors" and spread.redraw_every is not None:
            frames = self._drawn(spread)
        return eqx.tree_at(
            lambda s: (s.spread, s.frames, s.at), self, (spread, frames, coords)
        ), coords

    def _checked_rank(self, rank: int) -> int:
        sides = [min(matrix.rows, matrix.columns) for matrix in self.choice.matrices]
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InvalidInput("rank", f"must be a whole number from 1, got {rank!r}")
        if sides and rank > min(sides):
            said = f"must be at most {min(sides)}, the smaller side of a matrix, got {rank}"
            raise InvalidInput("rank", said)
        return rank

    def _parts(self) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
        """The shapes of the adapter's numbers."""
        r, matrices = self.rank, self.choice.matrices
        if self.kind == "cores":
            inner = {"core": {str(m.leaf): (r, r) for m in matrices}}
        else:
            inner = {
                "left": {str(m.leaf): (m.rows, r) for m in matrices},
                "right": {str(m.leaf): (r, m.columns) for m in matrices},
            }
        shapes = {
            kind: {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in of_kind.items()}
            for kind, of_kind in inner.items()
        }
        shapes["direct"] = {
            str(i): jax.ShapeDtypeStruct(self.choice.leaves[i].shape, jnp.float32)
            for i in self.choice.direct
        }
        return shapes

    def _drawn(self, spread: RandomSubspace) -> list[tuple[Array, ...]]:
        """A of each matrix, (rows, r), its columns orthonormal."""
        key = jax.random.fold_in(spread.draw_key(), _FRAMES)
        return [(_orthonormal(key, m.leaf, m.rows, self.rank),) for m in self.choice.matrices]

    def _vectors(self, params: PyTree) -> list[tuple[Array, ...]]:
        """U, (rows, r), and Vᵀ, (r, columns), of each matrix."""
        leaves = jax.tree.leaves(params)
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
            raise InvalidInput("params", "cores need the parameters themselves, not their shapes")
        return [
            _singular(m.of(jnp.asarray(leaves[m.leaf], jnp.float32)), self.rank)
            for m in self.choice.matrices
        ]


def _orthonormal(key: Key[Array, ""], leaf: int, rows: int, rank: int) -> Float[Array, "rows r"]:
    entries = jax.random.normal(jax.random.fold_in(key, leaf), (rows, rank), jnp.float32)
    frame, upper = jnp.linalg.qr(entries)
    return frame * jnp.where(jnp.diagonal(upper) < 0, -1, 1).astype(frame.dtype)[None]


def _singular(matrix: Float[Array, "rows columns"], rank: int) -> tuple[Array, Array]:
    """The first singular vectors, each with its largest entry on the left positive."""
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    left, right = left[:, :rank], right[:rank]
    largest = jnp.argmax(jnp.abs(left), axis=0)
    signs = jnp.sign(left[largest, np.arange(rank)])
    return left * signs[None], right * signs[:, None]
