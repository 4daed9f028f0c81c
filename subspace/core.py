"""The interfaces that everything else composes: a subspace, and a basis of one compartment."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeAlias

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

Coords: TypeAlias = dict[str, Float[Array, "_"]]
"""Compartment name -> coordinates, shape ``(d,)`` each."""


class AbstractSubspace(eqx.Module):
    """A chart ``z -> parameters``: ``params(z) = params + P (z - coords)``.

    Laws, which the tests assert for every subspace:

    - ``<lift(z), g> == <z, project(g)>``;
    - ``lift`` and ``project`` are linear;
    - ``redraw`` never moves the parameters.
    """

    @abstractmethod
    def origin(self) -> Coords:
        """The coordinates of the parameters at the start: zeros."""

    @abstractmethod
    def project(self, tree: PyTree) -> Coords:
        """``Pᵀ tree``: the coordinates of a gradient."""

    @abstractmethod
    def lift(self, coords: Coords) -> PyTree:
        """``P coords``: the step in parameter space that a step in coordinates means."""

    @abstractmethod
    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        """``z = Pᵀ tree`` and ``P z``, in one pass where that is faster."""

    @abstractmethod
    def redraw(self, coords: Coords) -> tuple[AbstractSubspace, Coords]:
        """The chart for the next step, and the coordinates of the same parameters in it."""


class AbstractBasis(eqx.Module):
    """The ``(n, d)`` matrix P of one compartment, as two maps; it is never stored.

    ``key`` names the draw: the same key gives the same P. Columns have unit norm, and over keys
    ``E[P Pᵀ] = (d/n) I``.
    """

    entry_rms: eqx.AbstractClassVar[float]
    """Root mean square of an entry before normalisation, for ``scale="paper"``."""

    @abstractmethod
    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        """``Pᵀ v``."""

    @abstractmethod
    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        """``P z``."""

    @abstractmethod
    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        """``z = Pᵀ v`` and ``P z``, as `project` and `lift`, in one pass where that is faster."""
