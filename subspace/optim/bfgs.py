"""The BFGS direction as an Optax transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from subspace.errors import one_of
from subspace.optim.arguments import told
from subspace.optim.prior import Prior

PAIRS = ("paper", "shared")
_REACH = 1e4


class BFGSState(NamedTuple):
    """State of `scale_by_bfgs`, for d coordinates."""

    h: Float[Array, "d d"]
    """H, the estimate of the inverse Hessian."""
    last: Float[Array, " d"]
    last_gradient: Float[Array, " d"]
    started: Bool[Array, ""]
    stuck: Int[Array, ""]
    """Steps in a row that didn't move."""


def scale_by_bfgs(
    *,
    pairs: str = "paper",
    damping: float = 0.2,
    min_curvature: float = 1e-20,
    reset_after: int | None = 3,
    prior: Prior | None = None,
    bounded: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Multiplies the gradient by the BFGS estimate of the inverse Hessian.

    ``H ← Vᵀ H V + ρ s sᵀ`` with ``ρ = 1/(yᵀs)``, ``V = I - ρ y sᵀ`` (DLDR, P-BFGS), from ``H = I``
    or, where a ``prior`` knows the variance λ of a trajectory along each coordinate, from
    ``H = κ diag(λ)``, see `subspace.optim.prior.Prior.inverse_hessian`: a pair corrects it along
    one direction at a time. The first step is as long as the trajectory, and the line search comes
    back from there.

    O(d²) memory; for the small problems that `in_subspace` makes. Follow it with
    ``optax.scale(-1)`` and `subspace.optim.linesearch.backtracking`.

    Args:
        pairs: where a curvature pair's y comes from. ``"paper"``: the gradients of two consecutive
            steps, each on its own mini-batch; ``"shared"``: both on the current mini-batch, which
            costs one more gradient a step and needs ``value_fn``.
        damping: Powell's: y is mixed with ``H⁻¹s`` so that ``yᵀs ≥ damping · sᵀH⁻¹s``; 0 for none.
        min_curvature: a pair with ``yᵀs`` below is skipped.
        reset_after: back to the first H after so many steps in a row that didn't move (failed
            searches); None for never, as in the paper.
        prior: of the subspace; None for ``H = I``.
        bounded: without a prior, the first H is smaller than I where a step were more than 10⁴
            times as long as z, or 1, from where no search comes back: a loss may have any unit.
            False for I in any case, as in the paper.

    Raises:
        InvalidInput: unknown ``pairs``.
    """
    one_of("pairs", pairs, PAIRS)

    def init(params: PyTree) -> BFGSState:
        flat, _ = ravel_pytree(params)
        zero, eye = jnp.zeros_like(flat), jnp.eye(flat.size, dtype=flat.dtype)
        return BFGSState(eye, zero, zero, jnp.asarray(False), jnp.int32(0))

    def update(
        updates: PyTree,
        state: BFGSState,
        params: PyTree | None = None,
        **extra: Any,
    ) -> tuple[PyTree, BFGSState]:
        value_fn = told(params, extra, *(["value_fn"] if pairs == "shared" else [])).get("value_fn")
        gradient, unravel = ravel_pytree(updates)
        here, _ = ravel_pytree(params)
        before = state.last_gradient
        if pairs == "shared" and value_fn is not None:
            before, _ = ravel_pytree(jax.grad(value_fn)(unravel(state.last)))
        s, y = here - state.last, gradient - before
        moved = jnp.any(s != 0)
        h = _updated(state.h, s, y, state.started & moved, damping, min_curvature)
        stuck = jnp.where(state.started & ~moved, state.stuck + 1, 0)
        begins = ~state.started
        if reset_after is not None:
            begins |= stuck >= reset_after
            stuck = jnp.where(stuck >= reset_after, 0, stuck)
        h = jnp.where(begins, _first(gradient, here, prior, bounded), h)
        state = BFGSState(h, here, gradient, jnp.asarray(True), stuck)
        return unravel(h @ gradient), state

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _first(
    gradient: Float[Array, " d"], here: Float[Array, " d"], prior: Prior | None, bounded: bool
) -> Float[Array, "d d"]:
    """H before any pair, at a gradient."""
    if prior is None:
        eye, size = jnp.eye(here.size, dtype=here.dtype), jnp.linalg.norm(gradient)
        reach = _REACH * jnp.maximum(1, jnp.linalg.norm(here))
        return jnp.where(bounded & (size > reach), reach / size, 1).astype(here.dtype) * eye
    return jnp.diag(prior.inverse_hessian(gradient))


def _updated(
    h: Float[Array, "d d"],
    s: Float[Array, " d"],
    y: Float[Array, " d"],
    usable: Bool[Array, ""],
    damping: float,
    min_curvature: float,
) -> Float[Array, "d d"]:
    """The estimate after one pair, or as it was where the pair can't be used."""
    s = jnp.where(usable, s, jnp.ones_like(s))  # any vector that keeps what follows finite
    if damping:
        y = _damped(h, s, y, damping)
    curvature = jnp.vdot(y, s)
    usable &= (curvature > min_curvature) & jnp.isfinite(curvature)
    rho = 1 / jnp.where(usable, curvature, 1)
    v = jnp.eye(s.size, dtype=s.dtype) - rho * jnp.outer(y, s)
    new = v.T @ h @ v + rho * jnp.outer(s, s)
    return jnp.where(usable & jnp.all(jnp.isfinite(new)), new, h)


def _damped(
    h: Float[Array, "d d"], s: Float[Array, " d"], y: Float[Array, " d"], damping: float
) -> Float[Array, " d"]:
    """Powell's mixture of y and ``H⁻¹s`` (Nocedal and Wright, procedure 18.2)."""
    expected = jnp.linalg.solve(h, s)
    have, want = jnp.vdot(y, s), jnp.vdot(expected, s)
    low = have < damping * want
    share = jnp.where(low, (1 - damping) * want / jnp.where(low, want - have, 1), 1)
    return share * y + (1 - share) * expected
