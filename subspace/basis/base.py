"""A basis of one compartment: the matrix P as maps."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, Float, Key


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
