"""Subspaces that aren't flat: charts whose directions depend on where one is."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from subspace.spaces.base import AbstractSubspace, Coords


class CurvedSubspace(AbstractSubspace):
    """A chart ``params(z) = base + displacement(z)`` of any smooth displacement.

    ``P`` is its derivative at the current coordinates: `project` is ``Pᵀ``, `tangent` is ``P``.
    `lift` is what a step in coordinates truly moves, ``displacement(at + step) -
    displacement(at)``, so that any number of steps end on the chart.

    Attributes:
        at: the current coordinates.
    """

    at: eqx.AbstractVar[Coords]

    @abstractmethod
    def displacement(self, coords: Coords) -> PyTree:
        """How far parameters at these coordinates are from the base; nothing at zeros."""

    def origin(self) -> Coords:
        return jax.tree.map(jnp.zeros_like, self.at)

    def project(self, tree: PyTree) -> Coords:
        (coords,) = jax.vjp(self.displacement, self.at)[1](tree)
        return coords

    def tangent(self, coords: Coords) -> PyTree:
        return jax.jvp(self.displacement, (self.at,), (coords,))[1]

    def lift(self, coords: Coords) -> PyTree:
        moved = self.displacement(jax.tree.map(jnp.add, self.at, coords))
        return jax.tree.map(jnp.subtract, moved, self.displacement(self.at))

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        coords = self.project(tree)
        return coords, self.tangent(coords)
