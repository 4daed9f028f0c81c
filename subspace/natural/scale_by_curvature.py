"""Natural gradients, whose curvature is refreshed now and then, as an Optax transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Int, PyTree

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows, layers
from subspace.natural.curvature import AbstractCurvature, Seen
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import find_state

RowsFn = Callable[[PyTree], dict[str, Rows]]


class CurvatureState(NamedTuple):
    """What `scale_by_curvature` keeps: steps so far, and what is known of the curvature."""

    count: Int[Array, ""]
    known: Any


def scale_by_curvature(
    params: PyTree,
    curvature: AbstractCurvature,
    *,
    refresh: int = 100,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """``(F̂ + αI)⁻¹ g`` for every layer that can be captured; others keep their gradient.

    Composes: before `subspace.in_subspace`, a random subspace is stepped in along natural
    gradients. ``update`` takes ``rows_fn``, see `subspace.methods.natural.hylo`.

    A loop that counts its steps may say ``update(..., due=step % refresh == 0)``, a Python bool.
    Otherwise a `lax.cond` decides, in which XLA makes convolutions several times slower on a CPU.

    Args:
        params: of the model, or their shapes.
        curvature: such as `subspace.natural.lowrank.LowRank`.
        refresh: steps between refreshes.
        seed: of what curvature draws.
        exchange: how workers share a step; natural gradients use its workers only.

    Raises:
        InvalidInput: an argument that can't be used, or there is no layer to capture.
    """
    if refresh < 1:
        raise InvalidInput("refresh", f"must be at least 1, got {refresh}")
    if not layers(params):
        raise InvalidInput("model", "has no dense or convolutional layer whose curvature is known")
    root = jax.random.key(seed, impl="threefry2x32")
    workers = exchange.workers

    def init(params: PyTree) -> CurvatureState:
        return CurvatureState(jnp.int32(0), curvature.start(params))

    def update(
        grads: PyTree,
        state: CurvatureState,
        params: PyTree | None = None,
        *,
        rows_fn: RowsFn | None = None,
        due: bool | None = None,
        **extra: Any,
    ) -> tuple[PyTree, CurvatureState]:
        del extra
        if params is None or rows_fn is None:
            raise ValueError("curvature needs `params` and `rows_fn`")
        grads = workers.mean(grads)

        def refreshed() -> Any:
            key = jax.random.fold_in(root, state.count)
            seen = {
                path: Seen(rows, jax.random.fold_in(key, i), workers)
                for i, (path, rows) in enumerate(rows_fn(params).items())
            }
            return curvature.refresh(state.known, seen)

        known = state.known
        if refresh == 1 or due:
            known = refreshed()
        elif due is None:
            known = lax.cond(state.count % refresh == 0, refreshed, lambda: state.known)
        steps, known = curvature.step(known, grads)
        return steps, CurvatureState(state.count + 1, known)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def trace(opt_state: optax.OptState) -> dict[str, Any]:
    """How often curvature was refreshed since the phase began, by what; nothing without it."""
    state = find_state(opt_state, CurvatureState)
    return {} if state is None else state.known.figures()
