"""Natural gradients that are refreshed now and then: HyLo, SNGD and K-FAC as Optax methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Int, Key, PyTree

from subspace.capture import Rows, as_matrix, from_matrix, layers, replaced, sizes
from subspace.curvature import HYBRID, AbstractCurvature, Kronecker, LowRank
from subspace.errors import InvalidInput
from subspace.exchange import AbstractExchange, Alone
from subspace.remember import Remembering
from subspace.switch import Switch, SwitchState
from subspace.transform import chain, find_state

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


def hylo(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    steps: int,
    rank: int | float = 0.1,
    damping: float = 0.3,
    refresh: int = 100,
    selection: str = HYBRID,
    threshold: float = 0.5,
    memory: int = 1,
    milestones: tuple[int, ...] = (),
    momentum: float = 0.0,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """HyLo (Mu et al. 2022): natural gradients from a few examples of the batch, then SGD.

    ``update`` takes ``rows_fn``, a function from parameters to `subspace.capture.capture`'s rows of
    the step's batch.

    Args:
        params: of the model, as from ``eqx.partition``; `subspace.capture.layers` says which of
            its layers count. The gradient of other parameters passes through.
        batch_size: examples of a step on all workers together, n.
        steps: of an epoch, at whose end the selection is chosen.
        rank: fraction of the examples that is kept.
        damping: α.
        refresh: steps between refreshes.
        selection: ``"kid"``, ``"kis"``, see `subspace.lowrank.keep`, or ``"hybrid"``: KID in
            critical epochs, KIS in others, see `subspace.switch.Switch`.
        threshold, milestones: when an epoch is critical; milestones are epochs after which the
            learning rate drops.
        memory: refreshes whose rows are used together; the paper's is 1. See
            `subspace.remember.Remembering`.
        momentum: of the steps.
        seed: of KIS.
        exchange: how workers share a step.

    Raises:
        InvalidInput: an argument that can't be used, or there is no layer to capture.

    Example:
        >>> optimizer = hylo(params, 0.1, batch_size=32, steps=1000)
        >>> rows_fn = lambda params: capture(eqx.combine(params, static), loss, batch)
        >>> updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn)
    """
    if not 0 < rank <= 1:
        raise InvalidInput("rank", f"is a fraction of the batch, above 0 up to 1, got {rank}")
    low_rank = LowRank(damping, selection, max(1, round(rank * batch_size)), batch_size)
    curvature = low_rank if memory == 1 else Remembering(low_rank, memory)
    switch = Switch(steps, threshold, tuple(milestones)) if selection == HYBRID else None
    natural = scale_by_curvature(
        params, curvature, refresh=refresh, switch=switch, seed=seed, exchange=exchange
    )
    return chain(natural, optax.sgd(learning_rate, momentum or None))


def sngd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    damping: float = 0.3,
    refresh: int = 100,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """SNGD (Yang et al. 2022), exact in all n examples of the batch, then SGD; see `hylo`."""
    curvature = LowRank(damping, "sngd", batch_size, batch_size)
    natural = scale_by_curvature(params, curvature, refresh=refresh, exchange=exchange)
    return chain(natural, optax.sgd(learning_rate, momentum or None))


def kfac(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    damping: float = 0.3,
    refresh: int = 100,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """K-FAC, see `subspace.curvature.Kronecker`, then SGD; see `hylo`."""
    natural = scale_by_curvature(params, Kronecker(damping), refresh=refresh, exchange=exchange)
    return chain(natural, optax.sgd(learning_rate, momentum or None))


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
        grads = exchange.mean(grads)

        def refreshed() -> tuple[dict[str, Any], Int[Array, " 2"]]:
            key = jax.random.fold_in(root, state.count)
            return _refreshed(curvature, state, rows_fn(params), key, exchange)

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
    exchange: AbstractExchange,
) -> tuple[dict[str, Any], Int[Array, " 2"]]:
    """Every layer's new factor, and the counts."""
    critical = jnp.bool_(True) if state.switch is None else state.switch.critical
    factors = {
        path: curvature.refresh(
            state.factors[path], one, jax.random.fold_in(key, i), critical, exchange
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
