"""The random subspace: compartments × basis × dimensions × how often it is redrawn."""

from __future__ import annotations

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree, UInt32

from subspace.basis import get_basis
from subspace.basis.base import AbstractBasis
from subspace.errors import InvalidInput
from subspace.spaces.allotment import Allotment
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.partition import Label, Partition

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

    def __init__(
        self,
        params: PyTree,
        *,
        dim: int = DIM,
        basis: str | AbstractBasis = "hadamard",
        compartments: str | Label | Partition = "whole",
        allocate: str = "same",
        redraw_every: int | None = 1,
        scale: str = "unit",
        seed: int = 0,
    ):
        """Describes a random subspace of ``params``.

        Args:
            params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
            dim: subspace dimensions, shared out by ``allocate``.
            basis: a name from `subspace.basis.BASES`, or an object.
            compartments: see `subspace.spaces.partition.divide`.
            allocate: ``"same"``, ``"split"`` or ``"proportional"``, see
                `subspace.spaces.partition`.
            redraw_every: steps between redraws; None keeps the first draw.
            scale: ``"unit"`` directions, or ``"paper"``: a direction of a compartment of Q of all D
                parameters has norm about √(Q/D) times the rms of a raw entry, as in the RBD code.
            seed: 0 … 2³² - 1.

        Raises:
            InvalidInput: an argument that can't be used; says which and what to do.
        """
        self.basis = get_basis(basis)
        self.allotment = Allotment.of(
            params, self.basis, dim=dim, compartments=compartments, rule=allocate, scale=scale
        )
        if redraw_every is not None and redraw_every < 1:
            raise InvalidInput("redraw_every", f"must be at least 1 step, got {redraw_every}")
        self.redraw_every = redraw_every
        if not 0 <= seed < 2**32:
            raise InvalidInput("seed", f"must be between 0 and 2**32 - 1, got {seed}")
        self.seed = jnp.asarray(seed, jnp.uint32)
        self.step = jnp.asarray(0, jnp.int32)
        self.worker = None

    @property
    def dimensions(self) -> int:
        """d: all coordinates together."""
        return sum(self.allotment.dims)

    @property
    def partition(self) -> Partition:
        """The compartments."""
        return self.allotment.partition

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
        return {name: jnp.zeros(d, jnp.float32) for name, d, _ in self.allotment.compartments()}

    def project(self, tree: PyTree) -> Coords:
        flats = self.partition.split(tree)
        return {
            name: np.float32(scale) * self.basis.project(key, flats[name], d)
            for (name, d, scale), key in zip(
                self.allotment.compartments(), self._keys(), strict=True
            )
        }

    def lift(self, coords: Coords) -> PyTree:
        sizes = self.partition.sizes
        flats = {
            name: np.float32(scale) * self.basis.lift(key, coords[name], sizes[name])
            for (name, _, scale), key in zip(
                self.allotment.compartments(), self._keys(), strict=True
            )
        }
        return self.partition.join(flats)

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        flats, coords = self.partition.split(tree), {}
        for (name, d, scale), key in zip(self.allotment.compartments(), self._keys(), strict=True):
            z, flat = self.basis.filter(key, flats[name], d)
            coords[name], flats[name] = np.float32(scale) * z, np.float32(scale**2) * flat
        return coords, self.partition.join(flats)

    def redraw(self, coords: Coords) -> tuple[AbstractSubspace, Coords]:
        if self.redraw_every is None:
            return self, coords
        moved = eqx.tree_at(lambda s: s.step, self, self.step + 1)
        if self.redraw_every == 1:
            return moved, jax.tree.map(jnp.zeros_like, coords)
        fresh = moved.step % self.redraw_every == 0
        return moved, jax.tree.map(lambda z: jnp.where(fresh, jnp.zeros_like(z), z), coords)

    def _keys(self) -> list[Key[Array, ""]]:
        draw = self.step // self.redraw_every if self.redraw_every else self.step  # then always 0
        root = jax.random.fold_in(jax.random.key(self.seed, impl="threefry2x32"), draw)
        if self.worker is not None:
            root = jax.random.fold_in(jax.random.fold_in(root, _WORKERS), self.worker)
        return [jax.random.fold_in(root, i) for i in range(len(self.allotment.dims))]


def _has_no_leaf(node: Any) -> bool:
    """For `equinox.tree_at`: a place without arrays, in which something else is to stand."""
    return node is None or isinstance(node, Allotment)
