"""All numbers of a gradient, in 32, 8 or 1 bits each."""

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
    added,
    all_gather,
    all_reduce,
    less,
    mean,
    size,
    zeros,
)


@dataclass(frozen=True)
class Full(Compressor):
    """The mean itself: SGD."""

    def init(self, params: PyTree, workers: int) -> Any:
        return ()

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        return mean(grads), state

    def cost(self, params: PyTree, workers: int) -> Cost:
        return all_reduce(4 * size(params), workers)


@dataclass(frozen=True)
class SignSGD(Compressor):
    """EF-signSGD (Karimireddy et al. 2019): ``C(p) = ‖p‖₁/n · sign(p)`` of each tensor.

    A bit for each number and one scale a tensor, which differ from worker to worker.
    """

    def init(self, params: PyTree, workers: int) -> Any:
        return zeros(params, workers)

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        wanted = added(grads, state)
        sent = jax.tree.map(jax.vmap(scaled_sign), wanted)
        return mean(sent), less(wanted, sent)

    def cost(self, params: PyTree, workers: int) -> Cost:
        scales = 4 * len(jax.tree.leaves(params))
        return all_gather(size(params) / 8 + scales, workers)


def scaled_sign(x: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(x)) * jnp.where(x < 0, -1.0, 1.0).astype(x.dtype)


@dataclass(frozen=True)
class Int8(Compressor):
    """Eight bits a number, rounded at random, right in the mean (QSGD, Alistarh et al. 2017).

    Steps are the largest magnitude of a tensor over all workers / 127, known after a maximum over
    workers, so that the sums of whole numbers can be reduced; they take 16 bits on the way.
    """

    seed: int = 0

    def init(self, params: PyTree, workers: int) -> Any:
        return jax.random.key(self.seed, impl="threefry2x32")

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        key, now = jax.random.split(state)
        leaves, treedef = jax.tree.flatten(grads)
        keys = jax.random.split(now, len(leaves))
        sent = [rounded(k, x) for k, x in zip(keys, leaves, strict=True)]
        return mean(jax.tree.unflatten(treedef, sent)), key

    def cost(self, params: PyTree, workers: int) -> Cost:
        return all_reduce(2 * size(params) + 4 * len(jax.tree.leaves(params)), workers)


def rounded(key: jax.Array, x: jax.Array) -> jax.Array:
    """To a whole number of steps, up as often as is right in the mean."""
    step = jnp.maximum(jnp.max(jnp.abs(x)) / 127, 1e-30)
    return jnp.floor(x / step + jax.random.uniform(key, x.shape, x.dtype)) * step
