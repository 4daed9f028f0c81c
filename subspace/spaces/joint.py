"""The subspace that workers span together, each with random directions of its own."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree

from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.random import RandomSubspace


@final
class JointSubspace(AbstractSubspace):
    """K random subspaces side by side: ``P = s [P_1 … P_K]``, each drawn from one seed and k.

    Coordinates are those of the parts one after the other: shape (K·d,) for each compartment. Any
    process rebuilds every part, so that nothing but coordinates has to be sent.

    Attributes:
        space: names the parts: part k is ``space`` as worker k draws it.
        workers: K.
        scale: s.
    """

    space: RandomSubspace
    workers: int = eqx.field(static=True)
    scale: float = eqx.field(static=True, default=1.0)

    def part(self, worker: Int[Array, ""]) -> RandomSubspace:
        """P_k, s included."""
        return self.space.drawn_by(worker, self.scale)

    def origin(self) -> Coords:
        return {name: jnp.tile(z, self.workers) for name, z in self.space.origin().items()}

    def project(self, tree: PyTree) -> Coords:
        parts = lax.map(lambda k: self.part(k).project(tree), self._all())
        return {name: jnp.ravel(z) for name, z in parts.items()}

    def lift(self, coords: Coords) -> PyTree:
        rows = {name: jnp.reshape(z, (self.workers, -1)) for name, z in coords.items()}
        first, rest = (jax.tree.map(lambda z, s=s: z[s], rows) for s in (0, slice(1, None)))

        def add(total: PyTree, part: tuple[Int[Array, ""], Coords]) -> tuple[PyTree, None]:
            worker, z = part
            return jax.tree.map(jnp.add, total, self.part(worker).lift(z)), None

        start = self.part(jnp.int32(0)).lift(first)
        if self.workers == 1:
            return start
        return lax.scan(add, start, (self._all()[1:], rest))[0]

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        coords = self.project(tree)
        return coords, self.lift(coords)

    def knows(self, axis: str) -> bool:
        return self.space.knows(axis)

    def stretch(self) -> float:
        return self.space.stretch()

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        space, coords = self.space.redraw(coords)
        return eqx.tree_at(lambda s: s.space, self, space), coords

    def _all(self) -> Int[Array, " workers"]:
        return jnp.asarray(np.arange(self.workers, dtype=np.int32))
