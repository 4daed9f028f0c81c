"""Methods in the subspace of a trajectory (DLDR): P-SGD, P-BFGS, P+BFGS, and Newton."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.optim.bfgs import scale_by_bfgs
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import SubspaceState, chain, in_subspace
from subspace.optim.linesearch import backtracking
from subspace.optim.newton import scale_by_newton
from subspace.spaces.base import AbstractSubspace


def p_sgd(
    space: AbstractSubspace,
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    momentum: float = 0.9,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """P-SGD: SGD with momentum in the principal directions of a trajectory (Li et al. 2022).

    Args:
        space: from `TrajectorySubspace.fit`; start at the trajectory's first sample.
        learning_rate: the paper's 1, ×0.1 at epochs 30 and 50.
        momentum: of the coordinates.
        exchange: how workers combine coordinates.
    """
    return in_subspace(space, optax.sgd(learning_rate, momentum or None), exchange=exchange)


def p_bfgs(
    space: AbstractSubspace,
    *,
    pairs: str = "shared",
    damping: float = 0.2,
    on_failure: str = "stay",
    initial_scaling: bool = True,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """P-BFGS: BFGS with a backtracking line search in a fixed subspace (Li et al. 2022).

    Its ``update`` needs ``params``, ``value`` and ``value_fn``. The paper as published:
    ``pairs="paper", damping=0.0, on_failure="paper", initial_scaling=False``.

    Args:
        space: fixed; usually from `TrajectorySubspace.fit`.
        pairs, damping, initial_scaling: see `subspace.optim.bfgs.scale_by_bfgs`.
        on_failure: see `subspace.optim.linesearch.backtracking`.
        exchange: how workers combine coordinates and losses.
    """
    direction = scale_by_bfgs(pairs=pairs, damping=damping, initial_scaling=initial_scaling)
    search = backtracking(on_failure=on_failure)
    return in_subspace(space, chain(direction, optax.scale(-1.0), search), exchange=exchange)


class PPlusBFGSState(NamedTuple):
    """State of `p_plus_bfgs`."""

    inside: SubspaceState
    outside: optax.OptState


def p_plus_bfgs(
    space: AbstractSubspace,
    *,
    alpha: float = 0.0,
    momentum: float = 0.9,
    pairs: str = "shared",
    damping: float = 0.2,
    on_failure: str = "stay",
    initial_scaling: bool = True,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """P+BFGS: P-BFGS inside the subspace, and SGD on what the subspace leaves of the gradient.

    ``θ ← θ + p - α trace(g - P Pᵀ g)`` with p the step of `p_bfgs` (Li et al. 2022). Workers
    exchange D numbers for the second term.

    Args:
        alpha: α, the learning rate outside the subspace; at 0 this is `p_bfgs`.
        momentum: of the trace outside.

    Others as for `p_bfgs`.
    """
    inside = p_bfgs(
        space,
        pairs=pairs,
        damping=damping,
        on_failure=on_failure,
        initial_scaling=initial_scaling,
        exchange=exchange,
    )
    if not alpha:
        return inside
    outside = optax.sgd(alpha, momentum or None)

    def init(params: PyTree) -> PPlusBFGSState:
        return PPlusBFGSState(inside.init(params), outside.init(params))  # pyright: ignore

    def update(
        updates: PyTree, state: PPlusBFGSState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PPlusBFGSState]:
        step, inner = inside.update(updates, state.inside, params, **extra)  # pyright: ignore
        chart = state.inside.space
        left = jax.tree.map(jnp.subtract, updates, chart.lift(chart.project(updates)))
        rest, outer = outside.update(exchange.workers.mean(left), state.outside)
        return jax.tree.map(jnp.add, step, rest), PPlusBFGSState(inner, outer)  # pyright: ignore

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def p_newton(
    space: AbstractSubspace,
    *,
    damping: float = 1e-3,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """Damped Newton steps with a backtracking line search in a fixed subspace of d ≤ 64 or so.

    As `p_bfgs`, with the exact Hessian of the mini-batch's loss in the d coordinates instead of an
    estimate. Its ``update`` needs ``params``, ``value`` and ``value_fn``.

    Args:
        space: fixed; usually from `TrajectorySubspace.fit`.
        damping: see `subspace.optim.newton.scale_by_newton`.
        exchange: how workers combine coordinates and losses.
    """
    direction = scale_by_newton(damping=damping)
    search = backtracking()
    return in_subspace(space, chain(direction, optax.scale(-1.0), search), exchange=exchange)
