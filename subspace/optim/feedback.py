"""Error feedback: what the subspaces of a worker have missed, to be followed later.

That residual has the gradient's units and shapes. Only its mean over workers matters for what is
trained.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from subspace.optim.workers import PerWorker


def nothing_missed(params: PyTree) -> PerWorker:
    """Before the first step."""
    return PerWorker(jax.tree.map(lambda p: jnp.zeros((1, *p.shape), p.dtype), params))


def with_missed(updates: PyTree, residual: PerWorker | None) -> PyTree:
    """A gradient, and what is left of those before it: ``g + e``."""
    if residual is None:
        return updates
    return jax.tree.map(lambda g, e: g + e[0], updates, residual.each)


def missed(wanted: PyTree, followed: PyTree) -> PerWorker:
    """What a step leaves: ``p - u``."""
    return PerWorker(jax.tree.map(lambda p, u: (p - u)[None], wanted, followed))
