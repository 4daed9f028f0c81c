"""Natural gradients from a few examples: exact SNGD, and HyLo's KID and KIS.

For one layer with per-example gradients ``uᵢ = vec(Iᵢ ⊗ Gᵢ)``, i = 1 … n, the Fisher matrix
``F = (1/n) Σ uᵢ uᵢᵀ`` is approximated by r of them, ``F̂ = (1/n) U_rᵀ S U_r``, and by Woodbury

    (F̂ + αI)⁻¹ g = (g - U_rᵀ M U_r g) / α,    M = (nα S⁻¹ + K_r)⁻¹,

with the kernel ``K = (I Iᵀ) ∘ (G Gᵀ) = U Uᵀ`` of the rows that are kept. Nothing as large as F or
U is ever formed. For S positive semi-definite and any α > 0 it is a descent direction.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from subspace.errors import InvalidInput, one_of
from subspace.natural.capture import Rows
from subspace.natural.curvature import AbstractLayerwise, Seen, check_damping
from subspace.optim.workers import AbstractWorkers, OneWorker

KINDS = ("sngd", "kid", "kis")
_ROUNDING = 2.0**-20  # of a trace
_CLEAR = 1e-4  # of the largest eigenvalue; below, an eigenvector is no direction of its own


class Kept(NamedTuple):
    """The rows that are kept, and R with ``S = RᵀR``."""

    rows: Rows
    root: Float[Array, "r r"]


class Factor(NamedTuple):
    """The rows that are kept, and M: with α, the approximate inverse of a layer's Fisher matrix."""

    rows: Rows
    middle: Float[Array, "r r"]


@final
class LowRank(AbstractLayerwise):
    """A layer's curvature from a few examples of one batch.

    Attributes:
        damping: α, above 0.
        kind: ``"sngd"`` (of all), ``"kid"`` or ``"kis"``, see `keep`.
        count: examples that are kept, r.
        total: examples of a batch, n.
    """

    damping: float
    kind: str
    count: int
    total: int

    def __check_init__(self):
        check_damping(self.damping)
        one_of("kind", self.kind, KINDS)
        if self.kind == "sngd" and self.count != self.total:
            raise InvalidInput("rank", "sngd keeps all rows; use kid or kis to keep fewer")

    def first_factor(self, inputs: int, outputs: int) -> Factor:
        zeros = (jnp.zeros((self.count, size), jnp.float32) for size in (inputs, outputs))
        return Factor(Rows(*zeros), jnp.zeros((self.count, self.count), jnp.float32))

    def measure(self, seen: Seen) -> Kept:
        return keep(self.kind, seen.rows, self.count, seen.key, seen.workers)

    def next_factor(self, previous: Factor, measured: Kept) -> Factor:
        del previous  # of one batch alone: `subspace.natural.memory` has that of several
        return factor(measured, self.total, self.damping)

    def precondition(self, factor: Factor, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        return precondition(factor, gradient, self.damping)


def kernel(left: Rows, right: Rows) -> Float[Array, "n m"]:
    """``U Uᵀ``: inner products of per-example gradients."""
    return (left.inputs @ right.inputs.T) * (left.outputs @ right.outputs.T)


def keep(
    kind: str,
    rows: Rows,
    count: int,
    key: Key[Array, ""],
    workers: AbstractWorkers = OneWorker(),
) -> Kept:
    """r of n rows, and how they stand for all.

    ``sngd``: every row, S = I (Yang et al. 2022). ``kid``: the r of largest norm, and every row as
    their least-squares combination, ``U ≈ C U_r``, ``S = CᵀC``. ``kis``: r drawn with probabilities
    that grow with their squared norms w, by priority sampling (Duffield et al. 2007) with weights
    ``S = diag(max(1, τ/w))``, τ the largest priority w/uniform that was not drawn: so that
    ``E[F̂] = F``. With r = n all three are exact.

    Several workers choose among the rows of all, so that what is kept doesn't depend on how many
    they are. They exchange n norms, the kept rows, r (a + b) numbers, and for ``kid`` r².

    Raises:
        InvalidInput: an unknown kind, or a count that isn't from 1 to n.
    """
    norms = workers.gather(jnp.sum(rows.inputs**2, axis=1) * jnp.sum(rows.outputs**2, axis=1))
    total = norms.size
    one_of("kind", kind, KINDS)
    if not 1 <= count <= total:
        raise InvalidInput("rank", f"keeps {count} of {total} rows; use at least 1, at most all")
    if kind == "sngd" or count == total:
        return Kept(_at(rows, jnp.arange(total), workers), jnp.eye(total, dtype=norms.dtype))
    if kind == "kid":
        kept = _at(rows, lax.top_k(norms, count)[1], workers)
        basis = _basis(kernel(kept, kept))
        shares = kernel(rows, kept) @ basis  # U Qᵀ with orthonormal rows Q = basisᵀ U_r
        projected = workers.total(shares.T @ shares)
        lower = jnp.linalg.cholesky(plus_identity(projected, rounding(projected)))
        return Kept(kept, (basis @ lower).T)
    tiny = jnp.finfo(norms.dtype).tiny
    weights = jnp.maximum(norms, tiny)  # rows of zeros are drawn last
    draws = jax.random.uniform(key, norms.shape, norms.dtype, tiny)  # above 0, a divisor
    priorities, order = lax.top_k(weights / draws, count + 1)  # the last of them is τ
    kept = _at(rows, order[:count], workers)
    scale = jnp.maximum(1, priorities[count] / weights[order[:count]])
    return Kept(kept, jnp.diag(jnp.sqrt(scale)))


def factor(kept: Kept, total: int | Int[Array, ""], damping: Any) -> Factor:
    """M for rows that stand for ``total`` examples; damping is α, here at least 10⁻⁶ tr F̂."""
    rows, root = kept
    inner = root @ kernel(rows, rows) @ root.T
    size = jnp.asarray(total, inner.dtype) * jnp.asarray(damping, inner.dtype)
    lower = jnp.linalg.cholesky(plus_identity(inner, jnp.maximum(size, rounding(inner))))
    half = jax.scipy.linalg.solve_triangular(lower, root, lower=True)
    return Factor(rows, half.T @ half)


def precondition(found: Factor, gradient: Float[Array, "a b"], damping: Any) -> Float[Array, "a b"]:
    """``(F̂ + αI)⁻¹ g`` of a layer's gradient as a matrix."""
    inputs, outputs = found.rows
    along = jnp.sum((inputs @ gradient) * outputs, axis=1)  # U_r g
    back = inputs.T @ ((found.middle @ along)[:, None] * outputs)
    return (gradient - back) / jnp.asarray(damping, gradient.dtype)


def _at(rows: Rows, order: Array, workers: AbstractWorkers) -> Rows:
    """Rows by their place among those of all workers; each has its own and zeros to add."""
    size = len(rows.inputs)
    place = order - workers.number() * size
    own = (place >= 0) & (place < size)
    place = jnp.clip(place, 0, size - 1)
    return workers.total(Rows(*(jnp.where(own[:, None], x[place], 0) for x in rows)))


def plus_identity(matrix: Float[Array, "r r"], scale: Any) -> Float[Array, "r r"]:
    """``A + cI``."""
    return matrix + scale * jnp.eye(len(matrix), dtype=matrix.dtype)


def rounding(matrix: Float[Array, "r r"]) -> Float[Array, ""]:
    """What has to be added to a kernel's diagonal at least, so that float32 can factorise it."""
    tiny = jnp.finfo(matrix.dtype).tiny
    return jnp.maximum(np.float32(_ROUNDING) * jnp.trace(matrix), tiny)


def _basis(inner: Float[Array, "r r"]) -> Float[Array, "r r"]:
    """W with ``Wᵀ K W = I`` on K's range; zero along eigenvectors that are mostly rounding."""
    values, vectors = jnp.linalg.eigh(inner)
    clear = values > np.float32(_CLEAR) * values[-1]
    return vectors @ jnp.diag(jnp.where(clear, lax.rsqrt(jnp.where(clear, values, 1)), 0))
