"""A backtracking line search as an Optax transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from subspace.errors import one_of
from subspace.optim.arguments import told
from subspace.optim.in_subspace import find_state

ON_FAILURE = ("stay", "paper")


class BacktrackingState(NamedTuple):
    """State of `backtracking`: counts since the start, for the records.

    Attributes:
        failing: the searches that failed one after the other up to now; 0 while steps are found.
    """

    searches: Int[Array, ""]
    failures: Int[Array, ""]
    trials: Int[Array, ""]
    failing: Int[Array, ""]


def backtracking(
    *, decrease: float = 0.4, factor: float = 0.4, max_trials: int = 20, on_failure: str = "stay"
) -> optax.GradientTransformationExtraArgs:
    """Scales a step by the first of 1, factor, factor² … that lowers the loss enough (Armijo).

    Optax's line search from a fresh start at every step, ``f(z + αp) ≤ f(z) + decrease · α pᵀg``.
    Needs ``value``, ``grad`` and ``value_fn``, which `in_subspace` passes on.

    Args:
        decrease: c; the paper's 0.4.
        factor: between trials; the paper's 0.4.
        max_trials: evaluations of the loss at most.
        on_failure: ``"stay"`` takes no step, ``"paper"`` the last one tried, as the released code.

    Raises:
        InvalidInput: unknown ``on_failure``.
    """
    one_of("on_failure", on_failure, ON_FAILURE)
    search = optax.scale_by_backtracking_linesearch(
        max_backtracking_steps=max_trials - 1,
        slope_rtol=decrease,
        decrease_factor=factor,
        increase_factor=1.0,
        max_learning_rate=1.0,
    )

    def init(params: PyTree) -> BacktrackingState:
        del params
        return BacktrackingState(*(jnp.int32(0) for _ in BacktrackingState._fields))

    def update(
        updates: PyTree, state: BacktrackingState, params: Any = None, **extra: Any
    ) -> tuple[PyTree, BacktrackingState]:
        needed = told(params, extra, "value", "grad", "value_fn")
        found: Any
        # its own state would carry the last step size on, and from 0, after a loss that was never
        # finite, no search recovers
        scaled, found = search.update(updates, search.init(params), params, **needed)
        failed = ~(found.info.decrease_error <= 0)
        if on_failure == "stay":
            scaled = jax.tree.map(lambda u: jnp.where(failed, jnp.zeros_like(u), u), scaled)
        trials = found.info.num_linesearch_steps.astype(np.int32)
        missed = failed.astype(jnp.int32)
        counts = BacktrackingState(
            state.searches + 1,
            state.failures + missed,
            state.trials + trials,
            (state.failing + 1) * missed,
        )
        return scaled, counts

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def search_counts(opt_state: optax.OptState) -> BacktrackingState | None:
    """The counts in an optimizer state, wherever `backtracking` stands; None without one."""
    return find_state(opt_state, BacktrackingState)
