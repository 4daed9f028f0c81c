"""A subspace as a chart: what everything else composes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Coords: TypeAlias = dict[str, Float[Array, "_"]]
"""Compartment name -> coordinates, shape ``(d,)`` each."""


class AbstractSubspace(eqx.Module):
    """A chart ``z -> parameters``: ``params(z) = params + P (z - coords)``.

    Laws, which the tests assert for every subspace:

    - ``<tangent(z), g> == <z, project(g)>``;
    - ``tangent`` and ``project`` are linear;
    - ``redraw`` never moves the parameters.

    `lift` is `tangent`, except of a chart that isn't flat, see `CurvedSubspace`.
    """

    @abstractmethod
    def origin(self) -> Coords:
        """The coordinates of the parameters at the start: zeros."""

    @abstractmethod
    def project(self, tree: PyTree) -> Coords:
        """``Pᵀ tree``: the coordinates of a gradient."""

    @abstractmethod
    def lift(self, coords: Coords) -> PyTree:
        """The step in parameter space that a step in coordinates means, ``P coords``."""

    def tangent(self, coords: Coords) -> PyTree:
        """``P coords`` for the derivative P here: `lift` itself, where the chart is flat."""
        return self.lift(coords)

    def lifter(self) -> Callable[[Coords], PyTree]:
        """`lift`, for a loop: what doesn't depend on coordinates is computed once, here.

        For evolution strategies and searches, which lift many times within a draw. May take D
        numbers of memory.
        """
        return self.lift

    def fixed(self) -> bool:
        """Whether a seed and the base name it for good, so that coordinates say all of a run."""
        return False

    def largest(self) -> int | None:
        """The most coordinates that such a space of these parameters can have; None if D."""
        return None

    def shifted(self, params: PyTree, coords: Coords) -> PyTree:
        """Parameters whose coordinates here are zeros, moved to others."""
        return jax.tree.map(jnp.add, params, self.lift(coords))

    @abstractmethod
    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        """``z = Pᵀ tree`` and ``P z``, see `tangent`, in one pass where that is faster."""

    def knows(self, axis: str) -> bool:
        """Whether devices along an axis of a mesh may each bring a gradient of their own.

        As where they hold blocks of the parameters, or draw directions of their own.
        """
        del axis
        return False

    def stretch(self) -> float:
        """As `AbstractBasis.stretch`, with the lengths of directions; the largest of all parts."""
        return 1.0

    @abstractmethod
    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        """The chart for the next step, and the coordinates of the same parameters in it.

        ``step`` is what `lift` makes of the last step in coordinates, where the caller has it.
        """
