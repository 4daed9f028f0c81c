"""HyLo with a memory: the rows of several refreshes make one approximation of the Fisher matrix.

One batch spans little: most of the next batches' gradients lie outside, where a step is only
``g/α``. The rows of the refreshes before are there already, on every worker.
"""

from __future__ import annotations

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows
from subspace.natural.curvature import AbstractLayerwise, Seen
from subspace.natural.lowrank import Factor, Kept, LowRank, factor

_ROWS = 2**14  # a refresh factorises a square matrix of so many rows for every layer


class MemoryFactor(NamedTuple):
    """The rows of m refreshes, those of each beside each other; zeros where there was none yet.

    Attributes:
        refreshes: so far; the next one takes the place of the oldest.
        roots: of each, see `subspace.natural.lowrank.Kept`.
    """

    refreshes: Int[Array, ""]
    roots: Float[Array, "m r r"]
    factor: Factor


@final
class Memory(AbstractLayerwise):
    """`LowRank` of the last m refreshes together, ``F̂ = (1/m) Σ F̂ₜ``; of fewer at first.

    Attributes:
        low_rank: how each keeps its rows.
        length: m. Every step goes through m·r rows; a refresh factorises a matrix of that size.
    """

    low_rank: LowRank
    length: int

    def __check_init__(self):
        if self.length < 1:
            raise InvalidInput("memory", f"must be at least 1, got {self.length}")
        most = _ROWS // self.low_rank.count
        if self.length > most:
            raise InvalidInput(
                "memory",
                f"of {self.length} refreshes with {self.low_rank.count} rows each is too large; "
                f"use at most {most}",
            )

    def first_factor(self, inputs: int, outputs: int) -> MemoryFactor:
        count, total = self.low_rank.count, self.length * self.low_rank.count
        sizes = (inputs, outputs, total)
        left, right, middle = (jnp.zeros((total, size), jnp.float32) for size in sizes)
        roots = jnp.zeros((self.length, count, count), jnp.float32)
        return MemoryFactor(jnp.int32(0), roots, Factor(Rows(left, right), middle))

    def measure(self, seen: Seen) -> Kept:
        return self.low_rank.measure(seen)

    def next_factor(self, previous: MemoryFactor, measured: Kept) -> MemoryFactor:
        place = previous.refreshes % self.length

        def put(past: Array, one: Array) -> Array:
            return lax.dynamic_update_slice_in_dim(past, one, place * self.low_rank.count, axis=0)

        kept = jax.tree.map(put, previous.factor.rows, measured.rows)
        roots = previous.roots.at[place].set(measured.root)
        refreshes = previous.refreshes + 1
        total = self.low_rank.total * jnp.minimum(refreshes, self.length)
        whole = Kept(kept, jax.scipy.linalg.block_diag(*roots))
        return MemoryFactor(refreshes, roots, factor(whole, total, self.low_rank.damping))

    def precondition(
        self, factor: MemoryFactor, gradient: Float[Array, "a b"]
    ) -> Float[Array, "a b"]:
        return self.low_rank.precondition(factor.factor, gradient)
