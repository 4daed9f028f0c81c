"""Natural gradients, whose curvature is refreshed now and then, as an Optax transformation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Int, Key, PyTree

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows, as_matrix, from_matrix, layers, replaced, sizes
from subspace.natural.critical import Switch, SwitchState
from subspace.natural.curvature import AbstractCurvature
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import find_state
from subspace.optim.workers import AbstractWorkers

RowsFn = Callable[[PyTree], dict[str, Rows]]


class CurvatureState(NamedTuple):
    """What `scale_by_curvature` keeps.

    Attributes:
        factors: of each layer, by path.
        switch: of a method that has one.
        refreshes: in critical epochs (without a switch: all), and in others.
    """

    count: Int[Array, ""]
    factors: dict[str, Any]
    switch: SwitchState | None
    refreshes: Int[Array, " 2"]


def scale_by_curvature(
    params: PyTree,
    curvature: AbstractCurvature,
    *,
    refresh: int = 100,
    switch: Switch | None = None,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """``(F̂ + αI)⁻¹ g`` for every layer that can be captured; others keep their gradient.

    Composes: before `subspace.in_subspace`, a random subspace is stepped in along natural
    gradients. Arguments and errors as `hylo`'s; without a switch every epoch is critical.

    A loop that counts its steps may say ``update(..., due=step % refresh == 0)``, a Python bool.
    Otherwise a `lax.cond` decides, in which XLA makes convolutions several times slower on a CPU.
    """
    _check(params, curvature, refresh, switch)
    workers = exchange.workers
    root = jax.random.key(seed, impl="threefry2x32")

    def init(params: PyTree) -> CurvatureState:
        found = layers(params).items()
        factors = {path: curvature.start(*sizes(layer)) for path, layer in found}
        started = None if switch is None else switch.start(params)
        return CurvatureState(jnp.int32(0), factors, started, jnp.zeros(2, jnp.int32))

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

        def refreshed() -> tuple[dict[str, Any], Int[Array, " 2"]]:
            key = jax.random.fold_in(root, state.count)
            return _refreshed(curvature, state, rows_fn(params), key, workers)

        kept = state.factors, state.refreshes
        if refresh == 1 or due:
            factors, refreshes = refreshed()
        elif due is None:
            factors, refreshes = lax.cond(state.count % refresh == 0, refreshed, lambda: kept)
        else:
            factors, refreshes = kept

        def stepped(path: str, layer: Any) -> Any:
            return from_matrix(curvature.step(factors[path], as_matrix(layer)), layer)

        done, switched = state.count + 1, state.switch
        if switch is not None and switched is not None:
            switched = switch.after(switched, grads, done)
        return replaced(grads, stepped), CurvatureState(done, factors, switched, refreshes)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _check(
    params: PyTree, curvature: AbstractCurvature, refresh: int, switch: Switch | None
) -> None:
    curvature.check()
    if refresh < 1:
        raise InvalidInput("refresh", f"must be at least 1, got {refresh}")
    if switch is not None:
        switch.check()
    if not layers(params):
        raise InvalidInput("model", "has no dense or convolutional layer whose curvature is known")


def _refreshed(
    curvature: AbstractCurvature,
    state: CurvatureState,
    rows: dict[str, Rows],
    key: Key[Array, ""],
    workers: AbstractWorkers,
) -> tuple[dict[str, Any], Int[Array, " 2"]]:
    """Every layer's new factor, and the counts."""
    critical = jnp.bool_(True) if state.switch is None else state.switch.critical
    factors = {
        path: curvature.refresh(
            state.factors[path], one, jax.random.fold_in(key, i), critical, workers
        )
        for i, (path, one) in enumerate(rows.items())
    }
    return factors, state.refreshes.at[jnp.where(critical, 0, 1)].add(1)


def trace(opt_state: optax.OptState) -> dict[str, Any]:
    """How often curvature was refreshed since the phase began, by what; nothing without it."""
    state = find_state(opt_state, CurvatureState)
    if state is None:
        return {}
    first, second = (int(count) for count in state.refreshes)
    if state.switch is None:
        return {"refreshes": first}
    change = float(state.switch.change)
    found = {"gradient_change": change} if math.isfinite(change) else {}
    return {"kid_refreshes": first, "kis_refreshes": second} | found
