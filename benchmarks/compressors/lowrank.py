"""PowerSGD: gradients of matrices as products of two thin ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from compressors.base import Compressor, Cost, Stacked, added, all_reduce, zeros


class State(NamedTuple):
    """Q of each matrix, None for a vector, and each worker's error."""

    right: list[jax.Array | None]
    error: Stacked


@dataclass(frozen=True)
class PowerSGD(Compressor):
    """Rank r, warm start, error feedback (Vogels et al. 2019, algorithms 1 and 2).

    One step of subspace iteration: ``P = mean M_k Q``, orthonormalised, ``Q = mean M_kᵀ P``; all
    apply ``P Qᵀ``, and keep ``M_k - P Qᵀ``. Vectors are sent whole. A kernel of a convolution is a
    matrix of its outputs by all else.
    """

    rank: int
    seed: int = 0

    def init(self, params: PyTree, workers: int) -> Any:
        key = jax.random.key(self.seed, impl="threefry2x32")
        right = [
            jax.random.normal(jax.random.fold_in(key, i), (x.shape[-1], self._rank(x)), x.dtype)
            if x.ndim > 1
            else None
            for i, x in enumerate(jax.tree.leaves(params))
        ]
        return State(right, zeros(params, workers))

    def __call__(self, grads: Stacked, state: Any) -> tuple[PyTree, Any]:
        leaves, treedef = jax.tree.flatten(added(grads, state.error))
        agreed, right, error = [], [], []
        for x, q in zip(leaves, state.right, strict=True):
            whole, new = (jnp.mean(x, axis=0), None) if q is None else _agreed(x, q)
            agreed.append(whole)
            right.append(new)
            error.append(jnp.zeros_like(x) if q is None else x - whole[None])
        return treedef.unflatten(agreed), State(right, treedef.unflatten(error))

    def cost(self, params: PyTree, workers: int) -> Cost:
        numbers = sum(
            x.size if x.ndim < 2 else self._rank(x) * (prod(x.shape[:-1]) + x.shape[-1])
            for x in jax.tree.leaves(params)
        )
        return all_reduce(4 * numbers, workers)

    def _rank(self, x: Any) -> int:
        return min(self.rank, prod(x.shape[:-1]), x.shape[-1])


def _agreed(x: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``P Qᵀ`` in the leaf's shape, and Q."""
    matrices = x.reshape(len(x), -1, x.shape[-1])
    left, _ = jnp.linalg.qr(jnp.mean(matrices @ q[None], axis=0))
    right = jnp.mean(jnp.swapaxes(matrices, 1, 2) @ left[None], axis=0)
    return (left @ right.T).reshape(x.shape[1:]), right
