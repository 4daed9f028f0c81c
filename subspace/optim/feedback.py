"""Error feedback: what the subspaces of a worker have missed, to be followed later.

That residual has the gradient's units and shapes. Only its mean over workers matters for what is
trained.
"""

from __future__ import annotations

import jax
from jaxtyping import PyTree

from subspace.optim.workers import PerWorker
from subspace.spaces.shards import zeros_for


def nothing_missed(params: PyTree) -> PerWorker:
    """Before the first step; in float32 or wider, as bfloat16 loses a twentieth of a sum."""
    leaves, treedef = jax.tree.flatten(params)
    return PerWorker(jax.tree.unflatten(treedef, zeros_for(leaves, 1)))


def with_missed(updates: PyTree, residual: PerWorker | None) -> PyTree:
    """A gradient, and what is left of those before it: ``g + e``."""
    if residual is None:
        return updates
    return jax.tree.map(lambda g, e: g.astype(e.dtype) + e[0], updates, residual.each)


def missed(wanted: PyTree, followed: PyTree, before: PerWorker) -> PerWorker:
    """What a step leaves: ``p - u``, in the type of what was left before."""
    return PerWorker(
        jax.tree.map(
            lambda p, u, e: (p - u.astype(p.dtype))[None].astype(e.dtype),
            wanted,
            followed,
            before.each,
        )
    )
