"""What a compressor is, what it costs, and error feedback around any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

Stacked = PyTree
"""A tree whose leaves have a leading axis of K workers."""


class Cost(NamedTuple):
    """Bytes of a worker in a step."""

    sent: float
    received: float


def all_reduce(size: float, workers: int) -> Cost:
    """A sum of ``size`` bytes, over a ring: each part goes round twice."""
    each = 2 * size * (workers - 1) / workers
    return Cost(each, each)


def all_gather(size: float, workers: int) -> Cost:
    """``size`` bytes of each worker to all others, over a ring: what can't be summed."""
    each = size * (workers - 1)
    return Cost(each, each)


@dataclass(frozen=True)
class Compressor(ABC):
    """A way to agree on a step from K workers' gradients."""

    @abstractmethod
    def init(self, params: PyTree, workers: int) -> Any:
        """The state before the first step."""

    @abstractmethod
    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        """What all workers apply in place of the mean gradient, and the next state."""

    @abstractmethod
    def cost(self, params: PyTree, workers: int) -> Cost:
        """What a worker sends and receives in a step."""


def zeros(params: PyTree, workers: int) -> Stacked:
    """An error for each worker, of nothing."""
    return jax.tree.map(lambda x: jnp.zeros((workers, *x.shape), x.dtype), params)


def added(left: PyTree, right: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, left, right)


def less(left: PyTree, right: PyTree) -> PyTree:
    return jax.tree.map(jnp.subtract, left, right)


def mean(stacked: Stacked) -> PyTree:
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), stacked)


def flat(tree: PyTree) -> jax.Array:
    """(K, D) of a stacked tree."""
    return jnp.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(tree)], axis=1)


def shaped(vector: jax.Array, params: PyTree) -> PyTree:
    """A tree like ``params`` from (D,), or a stacked one from (K, D)."""
    leaves, found, at = jax.tree.leaves(params), [], 0
    for leaf in leaves:
        part = vector[..., at : at + leaf.size]
        found.append(part.reshape(*vector.shape[:-1], *leaf.shape))
        at += leaf.size
    return jax.tree.unflatten(jax.tree.structure(params), found)


def size(params: PyTree) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def one(stacked: Stacked) -> PyTree:
    """The first worker's, for shapes."""
    return jax.tree.map(lambda x: x[0], stacked)
