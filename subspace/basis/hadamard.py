"""Structured orthonormal rows in O(n log n), for any n and any d ≤ n."""

from __future__ import annotations

from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt32

from subspace.basis.base import AbstractBasis
from subspace.basis.bits import flip, permute, words


@final
class Hadamard(AbstractBasis):
    """d random rows of an orthogonal n×n matrix made of fast Hadamard transforms and random signs.

    A transform exists for sizes m = 2ᵏ and 3·2ᵏ only, so two of the largest such size m ≤ n are
    laid over each other, one on the first m entries and one on the last m: ``Q = T₂ S₂ T₁ S₁``,
    orthogonal for every n without padding. Rows are orthonormal to float32 rounding (1e-5 at
    n = 122,570), and as each is uniform over the rows of Q, ``E[P Pᵀ] = (d/n) I`` holds exactly.
    """

    entry_rms: ClassVar[float] = 1.0

    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        n, m = v.size, transform_size(v.size)
        first, second, rows = _draw(key, n, d)
        v = _ready(flip(first, v))
        v = v.at[:m].set(transform(v[:m]))
        if m < n:
            v = _ready(flip(second, v))
            v = v.at[n - m :].set(transform(v[n - m :]))
        return v[rows]

    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        m = transform_size(n)
        first, second, rows = _draw(key, n, z.size)
        v = jnp.zeros(n, z.dtype).at[rows].set(z, unique_indices=True)
        if m < n:
            v = v.at[n - m :].set(transform(v[n - m :]))
            v = _ready(flip(second, v))
        v = v.at[:m].set(transform(v[:m]))
        return flip(first, v)

    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        z = self.project(key, v, d)
        return z, self.lift(key, z, v.size)


_ready = lax.optimization_barrier
"""Computes an array once: XLA would draw the signs again for each use in a butterfly."""


def _draw(
    key: Key[Array, ""], n: int, d: int
) -> tuple[UInt32[Array, " n"], UInt32[Array, " n"], Int[Array, " d"]]:
    """The words of both sign flips, and which rows of Q are taken."""
    first, second, choice = (jax.random.fold_in(key, i) for i in range(3))
    return words(first, n), words(second, n), permute(choice, jnp.arange(d), n)


def transform_size(n: int) -> int:
    """The largest 2ᵏ or 3·2ᵏ up to n."""
    power = 1 << (n.bit_length() - 1)
    return max(m for m in (power, 3 * power // 2) if m <= n)


def transform(x: Float[Array, " m"]) -> Float[Array, " m"]:
    """``R ⊗ H``, symmetric and orthonormal: Hadamard of size 2ᵏ, and a 3×3 reflection if 3 | m."""
    scale = _power_of_two(x.size) ** -0.5
    return lax.platform_dependent(x, cpu=_butterflies, default=_products) * scale


def _butterflies(x: Float[Array, " m"]) -> Float[Array, " m"]:
    """Stage by stage, the fewest operations.

    Each stage works on the fastest axis and makes it the slowest: a strided read, a contiguous
    write ("constant geometry"). After all stages the axes are back in their order.
    """
    for _ in range(_power_of_two(x.size).bit_length() - 1):
        a, b = x.reshape(-1, 2).T
        x = jnp.concatenate([a + b, a - b])
    return jnp.concatenate(_reflect(*x.reshape(-1, 3).T)) if x.size % 3 == 0 else x


_FACTOR = 7  # bits: matrices of 128 rows, as wide as a TPU's


def _products(x: Float[Array, " m"]) -> Float[Array, " m"]:
    """By products with small Hadamard matrices, fewer passes over memory.

    No axis behind the slowest is shorter than 128 numbers, to which a TPU would pad it.
    """
    bits, behind = _power_of_two(x.size).bit_length() - 1, 1
    while bits:
        size = 1 << min(bits, _FACTOR)
        factor = jnp.asarray(_hadamard(size), x.dtype)
        by = x.reshape(-1, size, behind)
        x = jnp.einsum("ij,bjk->bik", factor, by, precision=lax.Precision.HIGHEST).ravel()
        bits, behind = bits - min(bits, _FACTOR), behind * size
    return jnp.concatenate(_reflect(*x.reshape(3, -1))) if x.size % 3 == 0 else x


def _hadamard(size: int) -> np.ndarray:
    """Sylvester's matrix of signs."""
    index = np.arange(size)
    return 1 - 2.0 * (np.bitwise_count(index[:, None] & index) % 2)


def _power_of_two(m: int) -> int:
    return m // 3 if m % 3 == 0 else m


def _reflect(*x: Float[Array, " k"]) -> list[Float[Array, " k"]]:
    """The 3×3 reflection I - (2/3) J, the flattest symmetric orthogonal matrix of its size."""
    shift = 2 / 3 * sum(x[1:], start=x[0])
    return [part - shift for part in x]
