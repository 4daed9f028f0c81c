"""HyLo with a memory: the rows of several refreshes make one approximation of the Fisher matrix.

One batch spans little: most of the next batches' gradients lie outside, where a step is only
``g/α``. The rows of the refreshes before are there already, on every worker.
"""

from __future__ import annotations

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows
from subspace.natural.curvature import AbstractCurvature, LowRank
from subspace.natural.lowrank import Factor, Kept, factor
from subspace.optim.workers import AbstractWorkers

_ROWS = 2**14  # a refresh factorises a square matrix of so many rows for every layer


class Memory(NamedTuple):
    """The rows of m refreshes, those of each beside each other; zeros where there was none yet.

    Attributes:
        refreshes: so far; the next one takes the place of the oldest.
        roots: of each, see `subspace.natural.lowrank.Kept`.
    """

    refreshes: Int[Array, ""]
    roots: Float[Array, "m r r"]
    factor: Factor


@final
class Remembering(AbstractCurvature):
    """`LowRank` of the last m refreshes together, ``F̂ = (1/m) Σ F̂ₜ``; of fewer at first.

    Attributes:
        low_rank: how each keeps its rows.
        memory: m. Every step goes through m·r rows; a refresh factorises a matrix of that size.
    """

    low_rank: LowRank
    memory: int

    def start(self, inputs: int, outputs: int) -> Memory:
        count, total = self.low_rank.count, self.memory * self.low_rank.count
        sizes = (inputs, outputs, total)
        left, right, middle = (jnp.zeros((total, size), jnp.float32) for size in sizes)
        roots = jnp.zeros((self.memory, count, count), jnp.float32)
        return Memory(jnp.int32(0), roots, Factor(Rows(left, right), middle))

    def refresh(
        self,
        previous: Memory,
        rows: Rows,
        key: Key[Array, ""],
        critical: Bool[Array, ""],
        workers: AbstractWorkers,
    ) -> Memory:
        new = self.low_rank.keep(rows, key, critical, workers)
        place = previous.refreshes % self.memory

        def put(past: Array, one: Array) -> Array:
            return lax.dynamic_update_slice_in_dim(past, one, place * self.low_rank.count, axis=0)

        kept = jax.tree.map(put, previous.factor.rows, new.rows)
        roots = previous.roots.at[place].set(new.root)
        refreshes = previous.refreshes + 1
        total = self.low_rank.total * jnp.minimum(refreshes, self.memory)
        whole = Kept(kept, jax.scipy.linalg.block_diag(*roots))
        return Memory(refreshes, roots, factor(whole, total, self.low_rank.damping))

    def step(self, factor: Memory, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        return self.low_rank.step(factor.factor, gradient)

    def check(self) -> None:
        self.low_rank.check()
        if self.memory < 1:
            raise InvalidInput("memory", f"must be at least 1, got {self.memory}")
        most = _ROWS // self.low_rank.count
        if self.memory > most:
            raise InvalidInput(
                "memory",
                f"of {self.memory} refreshes with {self.low_rank.count} rows each is too large; "
                f"use at most {most}",
            )
