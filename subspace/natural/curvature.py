"""Approximations of a layer's Fisher matrix from captured rows, and the steps that follow.

`LowRank` is SNGD, KID, KIS or HyLo's hybrid of the two, `Kronecker` is K-FAC. Both take the rows of
`subspace.natural.capture`: of a batch with its own labels, so that F is the empirical Fisher
matrix, and with a convolution's inputs averaged and output gradients summed over positions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, PyTree

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows
from subspace.natural.lowrank import (
    Factor,
    Kept,
    factor,
    keep,
    plus_identity,
    precondition,
    rounding,
)
from subspace.optim.workers import AbstractWorkers

HYBRID = "hybrid"
SELECTIONS = (HYBRID, "kid", "kis")


class AbstractCurvature(eqx.Module):
    """How a layer's factor is made from rows, and a step from it; gradients are (a, b) matrices."""

    @abstractmethod
    def start(self, inputs: int, outputs: int) -> PyTree:
        """The factor of a layer before any rows are seen."""

    @abstractmethod
    def refresh(
        self,
        previous: PyTree,
        rows: Rows,
        key: Key[Array, ""],
        critical: Bool[Array, ""],
        workers: AbstractWorkers,
    ) -> PyTree:
        """A new factor, from this worker's rows; the same on all."""

    @abstractmethod
    def step(self, factor: PyTree, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        """``(F̂ + αI)⁻¹ g``."""

    @abstractmethod
    def check(self) -> None:
        """Raises InvalidInput if an attribute can't be used."""


@final
class LowRank(AbstractCurvature):
    """From a few examples, see `subspace.natural.lowrank`.

    Attributes:
        damping: α, above 0.
        kind: ``"sngd"`` (of all), ``"kid"``, ``"kis"``; ``"hybrid"``: KID in critical epochs only.
        count: examples that are kept, r.
        total: examples of a batch, n.
    """

    damping: float
    kind: str
    count: int
    total: int

    def start(self, inputs: int, outputs: int) -> Factor:
        zeros = (jnp.zeros((self.count, size), jnp.float32) for size in (inputs, outputs))
        return Factor(Rows(*zeros), jnp.zeros((self.count, self.count), jnp.float32))

    def refresh(
        self,
        previous: Factor,
        rows: Rows,
        key: Key[Array, ""],
        critical: Bool[Array, ""],
        workers: AbstractWorkers,
    ) -> Factor:
        del previous
        return factor(self.keep(rows, key, critical, workers), self.total, self.damping)

    def keep(
        self,
        rows: Rows,
        key: Key[Array, ""],
        critical: Bool[Array, ""],
        workers: AbstractWorkers,
    ) -> Kept:
        """The rows of one refresh; arguments as `refresh`'s."""

        def by(kind: str) -> Kept:
            return keep(kind, rows, self.count, key, workers)

        if self.kind != HYBRID:
            return by(self.kind)
        return lax.cond(critical, lambda: by("kid"), lambda: by("kis"))

    def step(self, factor: Factor, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        return precondition(factor, gradient, self.damping)

    def check(self) -> None:
        _check_damping(self.damping)
        of_all = self.kind == "sngd" and self.count == self.total
        if self.kind not in SELECTIONS and not of_all:
            names = ", ".join(SELECTIONS)
            raise InvalidInput("selection", f"unknown selection {self.kind!r}; use {names}")


class KroneckerFactor(NamedTuple):
    """K-FAC's averages with the weight that they have, and their damped inverses."""

    weight: Float[Array, ""]
    inputs: Float[Array, "a a"]
    outputs: Float[Array, "b b"]
    inverse_inputs: Float[Array, "a a"]
    inverse_outputs: Float[Array, "b b"]


@final
class Kronecker(AbstractCurvature):
    """K-FAC (Martens and Grosse 2015): ``F ≈ A ⊗ B``, A = mean i iᵀ and B = mean g gᵀ.

    ``(A + π√α I)⁻¹ g (B + √α/π I)⁻¹`` with π² the ratio of the mean eigenvalues of A and B; of
    convolutions the "reduce" form (Eschenhagen et al. 2023). Workers exchange a² + b² numbers.

    Attributes:
        damping: α, above 0.
        decay: of the running averages, for each refresh.
    """

    damping: float
    decay: float = 0.95

    def start(self, inputs: int, outputs: int) -> KroneckerFactor:
        """The inverses are those of damping alone."""
        zeros = (jnp.zeros((size, size), jnp.float32) for size in (inputs, outputs))
        scale = jnp.float32(self.damping**-0.5)
        eyes = (scale * jnp.eye(size, dtype=jnp.float32) for size in (inputs, outputs))
        return KroneckerFactor(jnp.float32(0), *zeros, *eyes)

    def refresh(
        self,
        previous: KroneckerFactor,
        rows: Rows,
        key: Key[Array, ""],
        critical: Bool[Array, ""],
        workers: AbstractWorkers,
    ) -> KroneckerFactor:
        del key, critical
        new = workers.mean(tuple(x.T @ x / len(x) for x in rows))
        weight = 1 + self.decay * previous.weight
        old = previous.inputs, previous.outputs
        a, b = (self.decay * was + now for was, now in zip(old, new, strict=True))
        mean_a, mean_b = (jnp.trace(x) / len(x) / weight for x in (a, b))
        tiny = jnp.finfo(a.dtype).tiny
        balance = jnp.sqrt(jnp.maximum(mean_a, tiny) / jnp.maximum(mean_b, tiny))
        root = math.sqrt(self.damping)
        inverses = _inverse(a / weight, root * balance), _inverse(b / weight, root / balance)
        return KroneckerFactor(weight, a, b, *inverses)

    def step(self, factor: KroneckerFactor, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        return factor.inverse_inputs @ gradient @ factor.inverse_outputs

    def check(self) -> None:
        _check_damping(self.damping)


def _check_damping(damping: float) -> None:
    if not (damping > 0 and math.isfinite(damping)):
        raise InvalidInput("damping", f"must be a positive number, got {damping}")


def _inverse(matrix: Float[Array, "a a"], damping: Any) -> Float[Array, "a a"]:
    lower = jnp.linalg.cholesky(plus_identity(matrix, jnp.maximum(damping, rounding(matrix))))
    return jax.scipy.linalg.cho_solve((lower, True), jnp.eye(len(matrix), dtype=matrix.dtype))
