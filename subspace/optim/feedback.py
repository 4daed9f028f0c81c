"""Error feedback: what the subspaces of a worker have missed, to be followed later."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Residual(NamedTuple):
    """What a worker's subspaces have missed so far, in the gradient's units: D numbers.

    Leaves have the parameters' shapes behind an axis of workers, of length 1 within a worker. Only
    the mean over workers matters for what is trained.
    """

    missed: PyTree


def nothing_missed(params: PyTree) -> Residual:
    """Before the first step."""
    return Residual(jax.tree.map(lambda p: jnp.zeros((1, *p.shape), p.dtype), params))


def with_missed(updates: PyTree, residual: Residual | None) -> PyTree:
    """A gradient, and what is left of those before it: ``g + e``."""
    if residual is None:
        return updates
    return jax.tree.map(lambda g, e: g + e[0], updates, residual.missed)


def missed(wanted: PyTree, followed: PyTree) -> Residual:
    """What a step leaves: ``p - u``."""
    return Residual(jax.tree.map(lambda p, u: (p - u)[None], wanted, followed))
