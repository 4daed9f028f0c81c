"""Bases of independent random rows: drawn from a stream of words, used, and forgotten."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, UInt32

from subspace.basis.base import AbstractBasis
from subspace.basis.bits import words

_ROWS_IN_FLIGHT = 8  # fastest of 1 … 32 on two CPU cores at n = 122,570


class AbstractRowBasis(AbstractBasis):
    """Rows with independent entries, normalised to length 1; a subclass says how entries are drawn.

    One stream of n words makes a block of ``rows_per_word`` rows. Row i of a draw is a function of
    (key, i) alone, so neither d nor the size of the chunks matters.
    """

    rows_per_word: eqx.AbstractClassVar[int]

    @abstractmethod
    def rows(self, words: UInt32[Array, "c n"]) -> Sequence[Float[Array, "c r n"]]:
        """The raw rows that each of c streams of words means: r in each item, k in all."""

    def stretch(self, d: int, n: int) -> float:
        return 1 + (d - 1) / n  # two independent rows have a mean squared cosine of 1/n

    @abstractmethod
    def norms(self, rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
        """The lengths of raw rows."""

    def project(self, key: Key[Array, ""], v: Float[Array, " n"], d: int) -> Float[Array, " d"]:
        def chunk(keys):
            items = self.rows(_streams(keys, v.size))
            return jnp.stack([_dot(rows, v) / self.norms(rows) for rows in items], axis=1)

        return lax.map(chunk, self._chunks(key, d)).reshape(-1)[:d]

    def lift(self, key: Key[Array, ""], z: Float[Array, " d"], n: int) -> Float[Array, " n"]:
        keys = self._chunks(key, z.size)

        @functools.partial(jax.checkpoint, prevent_cse=False)  # a line search's gradient redraws
        def chunk(total, keys_and_z):
            keys, z = keys_and_z
            items = self.rows(_streams(keys, n))
            for rows, z_item in zip(items, jnp.split(z, len(items), axis=1), strict=True):
                total = _added(total, z_item / self.norms(rows), rows)
            return total, None

        start = jnp.zeros(n, z.dtype) + 0 * z[0]  # varies over a mesh wherever z does
        return lax.scan(chunk, start, (keys, self._padded(z, keys)))[0]

    def filter(
        self, key: Key[Array, ""], v: Float[Array, " n"], d: int
    ) -> tuple[Float[Array, " d"], Float[Array, " n"]]:
        """Draws every row once: dots it with v, adds it back, forgets it."""
        keys = self._chunks(key, d)

        def chunk(total, keys_and_wanted):
            keys, wanted = keys_and_wanted
            items, coords = self.rows(_streams(keys, v.size)), []
            for rows, part in zip(items, jnp.split(wanted, len(items), axis=1), strict=True):
                norms = self.norms(rows)
                coords.append(_dot(rows, v) / norms)
                total = _added(total, part * coords[-1] / norms, rows)
            return total, jnp.stack(coords, axis=1)

        wanted = self._padded(jnp.ones(d, v.dtype), keys)  # not the rows that fill the last chunk
        total, coords = lax.scan(chunk, jnp.zeros_like(v), (keys, wanted))
        return coords.reshape(-1)[:d], total

    def _padded(
        self, z: Float[Array, " d"], keys: Key[Array, "chunks c"]
    ) -> Float[Array, "chunks c k"]:
        """A number for each row of each block, 0 past the d-th."""
        return jnp.pad(z, (0, keys.size * self.rows_per_word - z.size)).reshape(*keys.shape, -1)

    def _chunks(self, key: Key[Array, ""], d: int) -> Key[Array, "chunks c"]:
        """One key a block, in chunks of blocks that are evaluated together."""
        blocks = -(-d // self.rows_per_word)
        together = min(blocks, max(1, _ROWS_IN_FLIGHT // self.rows_per_word))
        index = jnp.arange(-(-blocks // together) * together).reshape(-1, together)
        return jax.vmap(jax.vmap(lambda i: jax.random.fold_in(key, i)))(index)


def measured_norms(rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
    return jnp.sqrt(jnp.sum(rows * rows, axis=2))


def _streams(keys: Key[Array, " c"], n: int) -> UInt32[Array, "c n"]:
    return jax.vmap(lambda key: words(key, n))(keys)


def _added(
    total: Float[Array, " n"], factors: Float[Array, "c r"], rows: Float[Array, "c r n"]
) -> Float[Array, " n"]:
    """``total + Σ factors · rows``, fused into one loop over n."""
    for i, j in np.ndindex(factors.shape):
        total = total + factors[i, j] * rows[i, j]
    return total


def _dot(rows: Float[Array, "c r n"], v: Float[Array, " n"]) -> Float[Array, "c r"]:
    return jnp.sum(rows * v[None, None], axis=2)
