"""A few numbers of a gradient, the largest or random ones, with error feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from compressors.base import (
    Compressor,
    Cost,
    Stacked,
    all_gather,
    all_reduce,
    flat,
    one,
    shaped,
    size,
)


@dataclass(frozen=True)
class TopK(Compressor):
    """The k largest of ``g + e`` of each worker (Stich et al. 2018; Aji and Heafield 2017).

    Places differ from worker to worker, so that values and places (4 bytes each) are gathered.
    """

    k: int

    def init(self, params: PyTree, workers: int) -> Any:
        return jnp.zeros((workers, size(params)), jnp.float32)

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        wanted = flat(grads) + state
        sent = jax.vmap(lambda x: largest(x, self.k))(wanted)
        return shaped(jnp.mean(sent, axis=0), one(grads)), wanted - sent

    def cost(self, params: PyTree, workers: int) -> Cost:
        return all_gather(8 * self.k, workers)


def largest(x: jax.Array, k: int) -> jax.Array:
    """The k numbers of the largest magnitude, others zero."""
    _, places = jax.lax.top_k(jnp.abs(x), k)
    return jnp.zeros_like(x).at[places].set(x[places])


@dataclass(frozen=True)
class RandomK(Compressor):
    """k places that all workers draw alike, so that values can be summed, with error feedback."""

    k: int
    seed: int = 0

    def init(self, params: PyTree, workers: int) -> Any:
        key = jax.random.key(self.seed, impl="threefry2x32")
        return key, jnp.zeros((workers, size(params)), jnp.float32)

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        key, error = state
        key, now = jax.random.split(key)
        wanted = flat(grads) + error
        places = jax.random.choice(now, wanted.shape[1], (self.k,), replace=False)
        sent = jnp.zeros_like(wanted).at[:, places].set(wanted[:, places])
        return shaped(jnp.mean(sent, axis=0), one(grads)), (key, wanted - sent)

    def cost(self, params: PyTree, workers: int) -> Cost:
        return all_reduce(4 * self.k, workers)
