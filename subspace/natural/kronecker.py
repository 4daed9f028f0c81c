"""K-FAC: a layer's Fisher matrix as a Kronecker product of two small ones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.natural.capture import Rows
from subspace.natural.curvature import AbstractLayerwise, Seen, check_damping
from subspace.natural.lowrank import plus_identity, rounding


class KroneckerFactor(NamedTuple):
    """K-FAC's averages with the weight that they have, and their damped inverses."""

    weight: Float[Array, ""]
    inputs: Float[Array, "a a"]
    outputs: Float[Array, "b b"]
    inverse_inputs: Float[Array, "a a"]
    inverse_outputs: Float[Array, "b b"]


@final
class Kronecker(AbstractLayerwise):
    """K-FAC (Martens and Grosse 2015): ``F ≈ A ⊗ B``, A = mean i iᵀ and B = mean g gᵀ.

    ``(A + π√α I)⁻¹ g (B + √α/π I)⁻¹`` with π² the ratio of the mean eigenvalues of A and B; of
    convolutions the "reduce" form (Eschenhagen et al. 2023). Workers exchange a² + b² numbers.

    Attributes:
        damping: α, above 0.
        decay: of the running averages, for each refresh.
    """

    damping: float
    decay: float = 0.95

    def __check_init__(self):
        check_damping(self.damping)

    def first_factor(self, inputs: int, outputs: int) -> KroneckerFactor:
        """The inverses are those of damping alone."""
        zeros = (jnp.zeros((size, size), jnp.float32) for size in (inputs, outputs))
        scale = jnp.float32(self.damping**-0.5)
        eyes = (scale * jnp.eye(size, dtype=jnp.float32) for size in (inputs, outputs))
        return KroneckerFactor(jnp.float32(0), *zeros, *eyes)

    def measure(self, seen: Seen) -> Rows:
        """A and B of this batch."""
        return seen.workers.mean(Rows(*(x.T @ x / len(x) for x in seen.rows)))

    def next_factor(self, previous: KroneckerFactor, measured: Rows) -> KroneckerFactor:
        weight = 1 + self.decay * previous.weight  # 1/(1 - decay) only after many refreshes
        old = previous.inputs, previous.outputs
        a, b = (self.decay * was + now for was, now in zip(old, measured, strict=True))
        mean_a, mean_b = (jnp.trace(x) / len(x) / weight for x in (a, b))
        tiny = jnp.finfo(a.dtype).tiny  # of a layer without a gradient, or without an input
        balance = jnp.sqrt(jnp.maximum(mean_a, tiny) / jnp.maximum(mean_b, tiny))
        root = math.sqrt(self.damping)
        inverses = _inverse(a / weight, root * balance), _inverse(b / weight, root / balance)
        return KroneckerFactor(weight, a, b, *inverses)

    def precondition(
        self, factor: KroneckerFactor, gradient: Float[Array, "a b"]
    ) -> Float[Array, "a b"]:
        return factor.inverse_inputs @ gradient @ factor.inverse_outputs


def _inverse(matrix: Float[Array, "a a"], damping: Any) -> Float[Array, "a a"]:
    lower = jnp.linalg.cholesky(plus_identity(matrix, jnp.maximum(damping, rounding(matrix))))
    return jax.scipy.linalg.cho_solve((lower, True), jnp.eye(len(matrix), dtype=matrix.dtype))
