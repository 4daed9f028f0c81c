"""The random subspace: compartments × basis × dimensions × how often it is redrawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PyTree, UInt32

from subspace.basis import DEFAULT, get_basis
from subspace.basis.base import AbstractBasis, Block
from subspace.errors import InvalidInput, is_whole
from subspace.spaces.allotment import Allotment
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.directions import MANY, Directions
from subspace.spaces.partition import Label, Partition
from subspace.spaces.seed import seed_word
from subspace.spaces.shards import Shards

_WORKERS = 2**31  # no compartment's number

DIM = 250
"""The papers' d, and the default everywhere."""


@final
class RandomSubspace(AbstractSubspace):
    """A subspace spanned by random directions that a seed names: nothing else is stored.

    ``redraw_every=1`` draws a new one each step (RBD), ``None`` never (FPD), k every k steps.
    At a redraw the coordinates start again from zero at the current parameters.

    The draw of compartment c after r redraws is a function of (seed, r, c) alone; of several
    workers that draw directions of their own, of (seed, r, worker, c).
    """

    basis: AbstractBasis
    allotment: Allotment
    redraw_every: int | None = eqx.field(static=True)
    seed: UInt32[Array, ""]
    step: Int[Array, ""]
    worker: Int[Array, ""] | None
    shards: Shards | None = eqx.field(static=True)

    def __init__(
        self,
        params: PyTree,
        *,
        dim: int = DIM,
        basis: str | AbstractBasis = DEFAULT,
        compartments: str | Label | Partition = "whole",
        allocate: str = "same",
        redraw_every: int | None = 1,
        scale: str = "unit",
        seed: int | Array = 0,
    ):
        """Describes a random subspace of ``params``.

        Args:
            params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
            dim: subspace dimensions, shared out by ``allocate``.
            basis: a name from `subspace.basis.BASES`, or an object.
            compartments: see `subspace.spaces.partition.divide`.
            allocate: ``"same"``, ``"split"`` or ``"proportional"``, see
                `subspace.spaces.allocate`.
            redraw_every: steps between redraws; None keeps the first draw.
            scale: ``"unit"`` directions, or ``"paper"``: a direction of a compartment of Q of all D
                parameters has norm about √(Q/D) times the rms of a raw entry, as in the RBD code.
            seed: 0 … 2³² - 1; an array of one, traced too, makes an ensemble with `jax.vmap`.

        Raises:
            InvalidInput: an argument that can't be used; says which and what to do.
        """
        self.basis = get_basis(basis)
        self.allotment = Allotment.of(
            params, self.basis, dim=dim, compartments=compartments, rule=allocate, scale=scale
        )
        if redraw_every is not None and (not is_whole(redraw_every) or redraw_every < 1):
            raise InvalidInput(
                "redraw_every", f"must be a whole number of steps, or None, got {redraw_every!r}"
            )
        self.redraw_every = redraw_every
        self.seed = seed_word(seed)
        self.step = jnp.asarray(0, jnp.int32)
        self.worker = None
        self.shards = Shards.of(jax.tree.leaves(params))

    @property
    def dimensions(self) -> int:
        """d: all coordinates together."""
        return sum(self.allotment.dims)

    @property
    def partition(self) -> Partition:
        """The compartments."""
        return self.allotment.partition

    def _divisible(self) -> bool:
        """Whether a device can do its part with blocks of leaves alone."""
        pieces = (piece for of_one in self.partition.pieces.values() for piece in of_one)
        return self.basis.by_blocks and all(piece.first is None for piece in pieces)

    def drawn_by(self, worker: Int[Array, ""], scale: float = 1.0) -> RandomSubspace:
        """This subspace with directions of one worker's own, all ``scale`` times as long."""
        return eqx.tree_at(
            lambda s: (s.allotment, s.worker),
            self,
            (self.allotment.scaled(scale), worker),
            is_leaf=_has_no_leaf,
        )

    def share(self, count: int) -> RandomSubspace:
        """This subspace with 1/count of its dimensions.

        Raises:
            InvalidInput: the dimensions of a compartment can't be divided so.
        """
        part = self.allotment.share(count)
        return eqx.tree_at(lambda s: s.allotment, self, part, is_leaf=_has_no_leaf)

    def origin(self) -> Coords:
        dtypes = self.partition.dtypes
        return {n: jnp.zeros(d, dtypes[n]) for n, d, _ in self.allotment.compartments()}

    def project(self, tree: PyTree) -> Coords:
        leaves = self.partition.leaves_of(tree)
        if self.shards is None:
            return self._drawn().project(leaves)
        return self.shards(_project_here, self, leaves, given=(P(), self.shards.leaves), gives=P())

    def lift(self, coords: Coords) -> PyTree:
        if self.shards is None:
            return self.partition.tree_of(self._drawn().lift(coords))
        given, gives = (P(), P()), self.shards.leaves
        return self.partition.tree_of(
            self.shards(_lift_here, self, coords, given=given, gives=gives)
        )

    def lifter(self) -> Callable[[Coords], PyTree]:
        if self.shards is not None or len(self.allotment.dims) >= MANY:
            return self.lift
        lift = self._drawn().lifter()
        return lambda coords: self.partition.tree_of(lift(coords))

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        leaves = self.partition.leaves_of(tree)
        if self.shards is None:
            coords, leaves = self._drawn().filter(leaves)
        else:
            given, gives = (P(), self.shards.leaves), (P(), self.shards.leaves)
            coords, leaves = self.shards(_filter_here, self, leaves, given=given, gives=gives)
        return coords, self.partition.tree_of(leaves)

    def total(self, each: list[Array]) -> Array:
        """The sum of numbers that each leaf has; on a device with blocks, over all blocks."""
        if self.shards is None:
            return sum(each[1:], start=each[0])
        each = self.shards.once(each)
        return self.shards.total(sum(each[1:], start=each[0]))

    def knows(self, axis: str) -> bool:
        return self.worker is not None or (self.shards is not None and axis in self.shards.axes)

    def fixed(self) -> bool:
        return self.redraw_every is None

    def stretch(self) -> float:
        shared = self.allotment
        each = zip(shared.dims, shared.scales, shared.partition.sizes.values(), strict=True)
        return max(scale**2 * self.basis.stretch(d, n) for d, scale, n in each)

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        if self.redraw_every is None:
            return self, coords
        moved = eqx.tree_at(lambda s: s.step, self, self.step + 1)
        return moved, jax.tree.map(moved.restarted, coords)

    def restarted(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """Coordinates, or zeros in their place where this step's directions are new ones."""
        if self.redraw_every is None:
            return z
        if self.redraw_every == 1:
            return jnp.zeros_like(z)
        return jnp.where(self.step % self.redraw_every == 0, jnp.zeros_like(z), z)

    def draw_key(self) -> Key[Array, ""]:
        """Names the current draw."""
        draw = self.step // self.redraw_every if self.redraw_every else self.step  # then always 0
        root = jax.random.fold_in(jax.random.key(self.seed, impl="threefry2x32"), draw)
        if self.worker is not None:
            root = jax.random.fold_in(jax.random.fold_in(root, _WORKERS), self.worker)
        return root

    def _drawn(self, blocks: list[Block] | None = None) -> Directions:
        """The current draw, for blocks of the leaves or for all of them."""
        keys = _keys(self.draw_key(), len(self.allotment.dims))
        return Directions(self.basis, self.allotment, keys, blocks)


def _keys(root: Key[Array, ""], count: int) -> Key[Array, " count"]:
    """One for each compartment."""
    if count == 1:
        return jax.random.fold_in(root, 0)[None]
    return jax.vmap(jax.random.fold_in, (None, 0))(root, jnp.arange(count, dtype=jnp.uint32))


def _project_here(space: RandomSubspace, leaves: list[Array]) -> Coords:
    """`RandomSubspace.project` on one of the devices over which parameters are divided."""
    shards = _shards_of(space)
    if space._divisible():
        coords = space._drawn(shards.blocks()).project(shards.once(leaves))
        return shards.total(coords)
    return space._drawn().project(shards.gathered(leaves))


def _lift_here(space: RandomSubspace, coords: Coords) -> list[Array]:
    shards = _shards_of(space)
    if space._divisible():
        return space._drawn(shards.blocks()).lift(coords)
    return shards.own(space._drawn().lift(coords))


def _filter_here(space: RandomSubspace, leaves: list[Array]) -> tuple[Coords, list[Array]]:
    shards = _shards_of(space)
    if space._divisible():
        coords = _project_here(space, leaves)
        return coords, _lift_here(space, coords)
    coords, lifted = space._drawn().filter(shards.gathered(leaves))
    return coords, shards.own(lifted)


def _shards_of(space: RandomSubspace) -> Shards:
    assert space.shards is not None
    return space.shards


def _has_no_leaf(node: Any) -> bool:
    """For `equinox.tree_at`: a place without arrays, in which something else is to stand."""
    return node is None or isinstance(node, Allotment)
