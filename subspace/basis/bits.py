"""Random words from counters: cheap, seekable, the same integers on every device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt32


def mix(word: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    """A bijection of 32-bit words in which every input bit flips about half of the output bits."""
    # shifts and factors of lowbias32, from C. Wellons's search for hashes of little bias
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> np.uint32(15))) * np.uint32(0x846CA68B)
    return word ^ (word >> np.uint32(16))


def words(key: Key[Array, ""], n: int) -> UInt32[Array, " n"]:
    """``n`` random words; word j is a function of ``key`` and j alone."""
    return words_at(key, jnp.arange(n, dtype=jnp.uint32))


def words_at(key: Key[Array, ""], index: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    """The words of these numbers in the stream of `words`.

    Keys that differ in either half give unrelated streams: the first half shifts the counter, the
    second is mixed in between two rounds.
    """
    low, high = jax.random.key_data(key)
    return mix(mix(index + low) ^ high)


def flip(words: UInt32[Array, "*s"], v: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``v`` with the sign that the top bit of each word says."""
    return jnp.where(words >> np.uint32(31) == 0, v, -v)


def permute(key: Key[Array, ""], index: Int[Array, " d"], n: int) -> Int[Array, " d"]:
    """Where a random permutation of ``0 … n-1`` sends each index, without building it.

    A Feistel network on the grid a×b just larger than n, walked until it lands below n, then
    rotated by a uniform amount: a bijection, and each image is uniform over keys.
    """
    a = int(np.ceil(np.sqrt(n)))
    b = -(-n // a)
    rounds = words(key, 7)

    def network(i):
        left, right = (i // b).astype(jnp.uint32), (i % b).astype(jnp.uint32)
        for r in range(0, 6, 2):  # the inner remainder keeps the sum from wrapping at 2³²
            left = (left + mix(right ^ rounds[r]) % np.uint32(a)) % np.uint32(a)
            right = (right + mix(left ^ rounds[r + 1]) % np.uint32(b)) % np.uint32(b)
        return (left * np.uint32(b) + right).astype(jnp.int32)

    def walk(i):
        return jnp.where(i < n, i, network(i))

    start = network(index.astype(jnp.int32))
    inside = lax.while_loop(lambda i: jnp.any(i >= n), walk, start)
    turn = (rounds[6] % np.uint32(n)).astype(jnp.int32)
    return (inside + turn) - jnp.where(inside >= n - turn, n, 0)
