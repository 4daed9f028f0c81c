"""Bases whose columns touch few parameters: random coordinates, and sparse random signs."""

from __future__ import annotations

from math import ceil, sqrt
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from subspace.basis.base import AbstractBasis
from subspace.basis.bits import flip, permute, words


@final
class Coordinate(AbstractBasis):
    """d distinct random parameters, scaled by nothing: random coordinate descent."""

    entry_rms: ClassVar[float] = 1.0

    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        return v[permute(key, jnp.arange(d), v.size)]

    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        index = permute(key, jnp.arange(z.size), n)
        return jnp.zeros(n, z.dtype).at[index].set(z, unique_indices=True)

    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        z = self.project(key, v, d)
        return z, self.lift(key, z, v.size)


@final
class Sparse(AbstractBasis):
    """Rows with s = ⌈√n⌉ entries ±1/√s at random places, independent from row to row.

    The "very sparse random projections" (Li, Hastie, Church 2006) that Li et al. 2018 use to
    measure intrinsic dimension; here with exactly s entries, so that rows have unit norm.
    O(d √n) time.
    """

    entry_rms: ClassVar[float] = 1.0

    def stretch(self, d: int, n: int) -> float:
        return 1 + (d - 1) / n

    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        def row(i):
            places, signed = _row(key, i, v.size, jnp.ones(_entries(v.size), v.dtype))
            return jnp.sum(v[places] * signed)

        return lax.map(row, jnp.arange(d), batch_size=_rows_at_once(v.size))

    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        together = min(z.size, _rows_at_once(n))
        count = -(-z.size // together)
        chunks = jnp.pad(z, (0, count * together - z.size)).reshape(count, together)
        index = jnp.arange(count * together).reshape(count, together)

        def chunk(total, index_and_z):
            ones = jnp.ones(_entries(n), z.dtype)
            places, signed = jax.vmap(lambda i, c: _row(key, i, n, c * ones))(*index_and_z)
            return total.at[places].add(signed), None

        start = jnp.zeros(n, z.dtype) + 0 * z[0]  # varies over a mesh wherever z does
        return lax.scan(chunk, start, (index, chunks))[0]

    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        z = self.project(key, v, d)
        return z, self.lift(key, z, v.size)


def _entries(n: int) -> int:
    return ceil(sqrt(n))


def _rows_at_once(n: int) -> int:
    """Keeps a chunk of rows at about n numbers."""
    return max(1, n // _entries(n))


def _row(
    key: Key[Array, ""], i: Int[Array, ""], n: int, values: Float[Array, " s"]
) -> tuple[Int[Array, " s"], Float[Array, " s"]]:
    """Where row i is not zero, and ``values`` there with random signs, scaled to unit norm."""
    where, sign = (jax.random.fold_in(jax.random.fold_in(key, i), part) for part in range(2))
    places = permute(where, jnp.arange(values.size), n)
    return places, flip(words(sign, values.size), values) * np.float32(values.size**-0.5)
