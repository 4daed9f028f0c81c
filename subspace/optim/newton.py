"""The Newton direction as an Optax transformation, for the small problems of a subspace."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from subspace.errors import InvalidInput
from subspace.optim.arguments import told
from subspace.optim.prior import Prior

_REACH = 1e6  # from where a line search comes back in 20 trials


def scale_by_newton(
    *, damping: float = 1e-3, prior: Prior | None = None
) -> optax.GradientTransformationExtraArgs:
    """Multiplies the gradient by ``(|H| + λI)⁻¹``, with the exact Hessian of ``value_fn``.

    |H| has H's eigenvectors and the absolute values of its eigenvalues, so the direction goes down
    where the curvature is negative too; λ is ``damping`` times the largest of them, which bounds
    the step along flat directions (Levenberg-Marquardt), and never so small that a step were more
    than 10⁶ times as long as z, or 1: where the loss has no curvature it goes along the gradient.
    Costs d Hessian-vector products and O(d³) a step: for d up to about 64. Follow it with
    ``optax.scale(-1)`` and a line search.

    Args:
        damping: relative to the largest curvature, above 0.
        prior: of a trajectory: all this is in coordinates ``z / √metric`` then, so that λ allows
            long steps where the trajectory went far, and short ones where it didn't.

    Raises:
        InvalidInput: ``damping`` is not positive.
    """
    if not damping > 0:
        raise InvalidInput("damping", f"must be a positive number, got {damping}")

    def update(
        updates: PyTree,
        state: optax.EmptyState,
        params: PyTree | None = None,
        **extra: Any,
    ) -> tuple[PyTree, optax.EmptyState]:
        value_fn = told(params, extra, "value_fn")["value_fn"]
        gradient, unravel = ravel_pytree(updates)
        here, _ = ravel_pytree(params)
        unit = jnp.ones_like(here) if prior is None else jnp.sqrt(prior.metric).astype(here.dtype)
        gradient, here = unit * gradient, here / unit
        gradient_at = jax.grad(lambda u: value_fn(unravel(unit * u)))
        along = jnp.eye(here.size, dtype=here.dtype)
        hessian = jax.lax.map(lambda v: jax.jvp(gradient_at, (here,), (v,))[1], along)
        values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2)
        curvature = jnp.abs(values)
        reach = _REACH * jnp.maximum(1, jnp.linalg.norm(here)).astype(here.dtype)
        shift = jnp.maximum(damping * jnp.max(curvature), jnp.linalg.norm(gradient) / reach)
        shift = jnp.maximum(shift, jnp.finfo(here.dtype).tiny)  # at a point that is flat
        direction = vectors @ ((vectors.T @ gradient) / (curvature + shift))
        return unravel(unit * direction), state

    def init(params: PyTree) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore
