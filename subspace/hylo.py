"""HyLo: natural gradients that are refreshed now and then from a few examples of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from subspace.capture import Rows, as_matrix, from_matrix, layers, replaced
from subspace.errors import InvalidInput
from subspace.exchange import AbstractExchange, Alone
from subspace.lowrank import KINDS, Factor, factor, keep, precondition
from subspace.transform import chain

HYBRID = "hylo"


class CurvatureState(NamedTuple):
    """What `scale_by_curvature` keeps.

    Attributes:
        factors: of each layer, r (a + b) + r² numbers.
        total: the sum of the epoch's gradients; nothing unless the kind is ``"hylo"``.
        previous: the norm of that of the epoch before; 0 in the first.
        critical: whether this epoch's refreshes are KID's.
        refreshes: by KID (or the only kind), and by KIS.
    """

    count: Int[Array, ""]
    factors: dict[str, Factor]
    total: PyTree
    previous: Float[Array, ""]
    critical: Bool[Array, ""]
    refreshes: Int[Array, " 2"]


def hylo(
    params: PyTree,
    learning_rate: float,
    *,
    batch_size: int,
    epoch: int,
    kind: str = HYBRID,
    rank: int | float = 0.1,
    damping: float = 0.3,
    refresh: int = 100,
    threshold: float = 0.5,
    momentum: float = 0.0,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """`scale_by_curvature`, then SGD with momentum.

    ``update`` takes ``rows_fn``, a function from parameters to `subspace.capture.capture`'s rows of
    the step's batch.

    Example:
        >>> optimizer = hylo(params, 0.1, batch_size=32, epoch=1000)
        >>> rows_fn = lambda params: capture(eqx.combine(params, static), loss, batch)
        >>> updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn)
    """
    curvature = scale_by_curvature(
        params,
        batch_size=batch_size,
        epoch=epoch,
        kind=kind,
        rank=rank,
        damping=damping,
        refresh=refresh,
        threshold=threshold,
        seed=seed,
        exchange=exchange,
    )
    return chain(curvature, optax.sgd(learning_rate, momentum or None))


def scale_by_curvature(
    params: PyTree,
    *,
    batch_size: int,
    epoch: int,
    kind: str = HYBRID,
    rank: int | float = 0.1,
    damping: float = 0.3,
    refresh: int = 100,
    threshold: float = 0.5,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """``(F̂ + αI)⁻¹ g`` for every layer that can be captured; other parameters keep their gradient.

    Args:
        params: of the model, as from ``eqx.partition``; `subspace.capture.layers` says which of
            its layers count.
        batch_size: examples of a step, n.
        epoch: steps of an epoch, at whose end ``"hylo"`` chooses between KID and KIS.
        kind: ``"sngd"``, ``"kid"``, ``"kis"``, see `subspace.lowrank.keep`; or ``"hylo"``: KID in
            the first two epochs and after one in which the norm of the summed gradient changed by
            ``threshold`` or more relative to that of the epoch before, KIS otherwise (HyLo, Mu et
            al. 2022).
        rank: fraction of the examples that is kept; not used by ``"sngd"``.
        damping: α.
        refresh: steps between refreshes of the factors.
        seed: of KIS.
        exchange: gradients are averaged over its workers. (Each keeps its own rows.)

    Raises:
        InvalidInput: an argument that can't be used, or there is no layer to capture.
    """
    _check(kind, rank, damping, refresh, threshold)
    if not layers(params):
        raise InvalidInput("model", "has no dense or convolutional layer whose curvature is known")
    count = batch_size if kind == "sngd" else max(1, round(rank * batch_size))
    root = jax.random.key(seed, impl="threefry2x32")

    def init(params: PyTree) -> CurvatureState:
        factors = {path: _no_factor(layer, count) for path, layer in layers(params).items()}
        total = jax.tree.map(jnp.zeros_like, params) if kind == HYBRID else ()
        nothing = jnp.zeros(2, jnp.int32)
        return CurvatureState(
            jnp.int32(0), factors, total, jnp.float32(0), jnp.bool_(kind != "kis"), nothing
        )

    def made(rows: dict[str, Rows], by: str, key: Key[Array, ""]) -> dict[str, Factor]:
        keys = jax.random.split(key, len(rows))
        kept = {p: keep(by, one, count, k) for (p, one), k in zip(rows.items(), keys, strict=True)}
        return {path: factor(one, batch_size, damping) for path, one in kept.items()}

    def refreshed(
        state: CurvatureState, params: PyTree, rows_fn: Callable[[PyTree], dict[str, Rows]]
    ) -> tuple[dict[str, Factor], Int[Array, " 2"]]:
        rows, key = rows_fn(params), jax.random.fold_in(root, state.count)
        if kind != HYBRID:
            factors = made(rows, kind, key)
        else:
            factors = lax.cond(
                state.critical,
                lambda: made(rows, "kid", key),
                lambda: made(rows, "kis", key),
            )
        return factors, state.refreshes.at[jnp.where(state.critical, 0, 1)].add(1)

    def update(
        grads: PyTree,
        state: CurvatureState,
        params: PyTree | None = None,
        *,
        rows_fn: Callable[[PyTree], dict[str, Rows]] | None = None,
        **extra: Any,
    ) -> tuple[PyTree, CurvatureState]:
        del extra
        if params is None or rows_fn is None:
            raise ValueError("curvature needs `params` and `rows_fn`")
        grads = exchange.mean(grads)
        factors, refreshes = lax.cond(
            state.count % refresh == 0,
            lambda: refreshed(state, params, rows_fn),
            lambda: (state.factors, state.refreshes),
        )
        steps = replaced(
            grads,
            lambda path, layer: from_matrix(
                precondition(factors[path], as_matrix(layer), damping), layer
            ),
        )
        state = state._replace(factors=factors, refreshes=refreshes)
        return steps, _next(state, grads, epoch, threshold)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _next(state: CurvatureState, grads: PyTree, epoch: int, threshold: float) -> CurvatureState:
    """Counts the step, and at the end of an epoch chooses the kind of the next one's refreshes."""
    state = state._replace(count=state.count + 1)
    if isinstance(state.total, tuple):
        return state
    total = jax.tree.map(jnp.add, state.total, grads)
    norm = optax.tree.norm(total)
    ends = state.count % epoch == 0
    change = jnp.abs(norm - state.previous) / state.previous  # infinite after the first epoch
    critical = jnp.where(ends, change >= threshold, state.critical)
    kept = jax.tree.map(lambda x: jnp.where(ends, 0, x).astype(x.dtype), total)
    return state._replace(
        total=kept, previous=jnp.where(ends, norm, state.previous), critical=critical
    )


def _no_factor(layer: Any, count: int) -> Factor:
    """What gives the gradient divided by the damping."""
    a, b = as_matrix(layer).shape
    rows = Rows(jnp.zeros((count, a), jnp.float32), jnp.zeros((count, b), jnp.float32))
    return Factor(rows, jnp.zeros((count, count), jnp.float32))


def _check(
    kind: str, rank: int | float, damping: float, refresh: int, threshold: int | float
) -> None:
    if kind not in (*KINDS, HYBRID):
        raise InvalidInput("kind", f"unknown {kind!r}; use {', '.join(KINDS)} or {HYBRID}")
    if not 0 < rank <= 1:
        raise InvalidInput("rank", f"is a fraction of the batch, above 0 up to 1, got {rank}")
    if not (damping > 0 and math.isfinite(damping)):
        raise InvalidInput("damping", f"must be a positive number, got {damping}")
    if refresh < 1:
        raise InvalidInput("refresh", f"must be at least 1, got {refresh}")
    if not threshold >= 0:
        raise InvalidInput("threshold", f"must be 0 or more, got {threshold}")
