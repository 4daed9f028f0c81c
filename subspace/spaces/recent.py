"""Random directions, and beside them those in which training has moved lately."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.random import RandomSubspace

_NAME = "(recent)"
MOST_RECENT = 6  # decays are 1 - 10⁻ᵏ, and 1 - 10⁻⁷ is 1 to float32
_PARALLEL = 1e-3  # the least part of a mean that is to be new


@final
class RecentSubspace(AbstractSubspace):
    """``P = [Q, (I - Q Qᵀ) R]``: m directions of past steps, Q, beside random ones, R.

    Q spans running means of the steps so far, with decays 0.9, 0.99, … Every worker has seen those
    steps, so that nothing is exchanged for Q but m more numbers a step, as in sequential subspace
    optimization (Narkiss and Zibulevsky 2005), which searches along past steps too. What the
    gradients of many steps have in common is followed at once, where random directions alone need
    D/d steps; so error feedback stays stable at larger learning rates. Costs m·D numbers of memory.

    Attributes:
        space: R, redrawn every step.
        means: running means of lifted steps, shape (m, D).
    """

    space: RandomSubspace
    means: Float[Array, "m D"]

    def __init__(self, space: RandomSubspace, params: PyTree, count: int):
        """Puts ``count`` directions beside those of ``space``.

        Raises:
            InvalidInput: there are to be none or more than 6, or ``space`` isn't redrawn each step.
        """
        if not 1 <= count <= MOST_RECENT:
            raise InvalidInput("recent", f"must be at most {MOST_RECENT} directions, got {count}")
        if space.redraw_every != 1:
            raise InvalidInput("recent", "goes with redraw_every=1 only")
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        self.space = space
        self.means = jnp.zeros((count, size), jnp.float32)

    def origin(self) -> Coords:
        return {_NAME: jnp.zeros(len(self.means), jnp.float32)} | self.space.origin()

    def project(self, tree: PyTree) -> Coords:
        q = self._directions()
        flat, unravel = ravel_pytree(tree)
        along = q @ flat
        return {_NAME: along} | self.space.project(unravel(flat - along @ q))

    def lift(self, coords: Coords) -> PyTree:
        q = self._directions()
        drawn = {name: z for name, z in coords.items() if name != _NAME}
        flat, unravel = ravel_pytree(self.space.lift(drawn))
        return unravel(flat + (coords[_NAME] - q @ flat) @ q)

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        q = self._directions()
        flat, unravel = ravel_pytree(tree)
        along = q @ flat
        coords, drawn = self.space.filter(unravel(flat - along @ q))
        rest, _ = ravel_pytree(drawn)
        return {_NAME: along} | coords, unravel(rest + (along - q @ rest) @ q)

    def redraw(self, coords: Coords) -> tuple[AbstractSubspace, Coords]:
        """New random directions; the step to ``coords``, from zero, joins the means."""
        decays = 1 - np.float32(10.0) ** -np.arange(1, len(self.means) + 1, dtype=np.float32)
        moved, _ = ravel_pytree(self.lift(coords))
        means = decays[:, None] * self.means + (1 - decays)[:, None] * moved[None]
        space, _ = self.space.redraw({name: z for name, z in coords.items() if name != _NAME})
        fresh = eqx.tree_at(lambda s: (s.space, s.means), self, (space, means))
        return fresh, jax.tree.map(jnp.zeros_like, coords)

    def _directions(self) -> Float[Array, "m D"]:
        """Q, orthonormal rows; zero for a mean that is zero or adds nothing to those before it."""
        rows: list[Float[Array, " D"]] = []
        for mean in self.means:
            rest = mean
            for row in rows:
                rest = rest - (row @ rest) * row
            size = jnp.linalg.norm(rest)
            new = size > _PARALLEL * jnp.linalg.norm(mean)
            rows.append(jnp.where(new, rest / jnp.where(new, size, 1), 0))
        return jnp.stack(rows)
