"""How a step compares with the gradient that it is meant to follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from subspace.methods import Method
from subspace.methods.random import InCompartments
from subspace.optim.bfgs import BFGSState
from subspace.optim.in_subspace import find_state
from subspace.spaces.allocate import allocate
from subspace.spaces.partition import divide


@jax.jit
def _products(gradient: PyTree, before: PyTree, after: PyTree) -> dict[str, jax.Array]:
    """⟨g, -u⟩, ⟨g, g⟩ and ⟨u, u⟩ of each tensor, u the step taken."""
    pairs = zip(*map(jax.tree.leaves, (gradient, before, after)), strict=True)
    rows = [(g, start - end) for g, start, end in pairs]
    return {
        "both": jnp.stack([jnp.sum(g * down) for g, down in rows]),
        "gradient": jnp.stack([jnp.sum(g * g) for g, _ in rows]),
        "update": jnp.stack([jnp.sum(down * down) for _, down in rows]),
    }


def compare(gradient: PyTree, before: PyTree, after: PyTree) -> dict[str, float]:
    """A step beside the gradient at its start.

    Args:
        gradient: of the step's mini-batch.
        before, after: the parameters.

    Returns:
        ``cosine`` between the step and -gradient; ``cosine_leaves``, the plain mean of each
        tensor's, as in table 3 of the RBD paper; ``energy``, the squared cosine: the share of the
        gradient's energy along the step; ``gradient_norm`` and ``update_norm``. NaN where one of
        them is zero.
    """
    sums = _products(gradient, before, after)
    both, ours, theirs = (np.asarray(sums[k], np.float64) for k in ("both", "gradient", "update"))
    norms = np.sqrt(ours * theirs)
    leaves = both[norms > 0] / norms[norms > 0]
    whole = math.sqrt(ours.sum() * theirs.sum())
    cosine = both.sum() / whole if whole else math.nan
    return {
        "cosine": float(cosine),
        "cosine_leaves": float(leaves.mean()) if leaves.size else math.nan,
        "energy": float(cosine**2),
        "gradient_norm": math.sqrt(ours.sum()),
        "update_norm": math.sqrt(theirs.sum()),
    }


def expected(method: Method, params: PyTree) -> dict[str, float]:
    """The cosines that d random directions have with any gradient, for large n.

    ``analytic`` is √(d/(d+D)), which holds of a plain step with as many directions for each
    parameter everywhere; ``analytic_leaves``, for tensors with directions of their own, the mean
    of √(dᵢ/(dᵢ+nᵢ)). Empty for methods without random directions.
    """
    if not isinstance(method, InCompartments):
        return {}
    sizes = divide(params, method.compartments).sizes
    dims = allocate(sizes, method.dim, method.allocate)
    d, total = sum(dims.values()), sum(sizes.values())
    figures = {"analytic": math.sqrt(d / (d + total))}
    if method.compartments == "leaf":
        each = [math.sqrt(dims[name] / (dims[name] + n)) for name, n in sizes.items()]
        figures["analytic_leaves"] = sum(each) / len(each)
    return figures


def condition(opt_state: optax.OptState) -> float | None:
    """The condition number of BFGS's H; None for other methods, infinite if it is singular."""
    found = find_state(opt_state, BFGSState)
    return None if found is None else float(np.linalg.cond(np.asarray(found.h)))


def mean_diagnostics(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every figure over the records that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    values = {name: [r[name] for r in records if r.get(name) is not None] for name in names}
    return {
        name: float(np.mean(found))
        for name, found in values.items()
        if name not in ("step", "phase") and found
    }
