"""Averages of the parameters that an optimizer goes through: SWA and EMA."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from subspace.errors import one_of
from subspace.optim.arguments import told
from subspace.optim.in_subspace import find_state

AVERAGES = ("swa", "ema")
_DECAY = 0.999


class AveragedState(NamedTuple):
    """State of `averaged`.

    Attributes:
        mean: the average so far, of the parameters' tree.
        steps: taken.
        count: of parameters in the mean.
    """

    inner: optax.OptState
    mean: PyTree
    steps: Int[Array, ""]
    count: Int[Array, ""]


def averaged(
    inner: optax.GradientTransformation,
    kind: str,
    *,
    begins: int = 0,
    every: int = 1,
    decay: float = _DECAY,
) -> optax.GradientTransformationExtraArgs:
    """Keeps an average of the parameters beside an optimizer, which it doesn't touch.

    It has to be the last that changes updates. `average` finds what it kept, in D numbers.

    Args:
        inner: the optimizer.
        kind: ``"swa"``: the mean of the parameters after every ``every``-th step from ``begins``
            on, and before it the newest (Izmailov et al. 2018, equal weights). ``"ema"``: after
            every step ``mean ← β mean + (1 - β) θ``, β rising to ``decay`` as ``(1 + t)/(10 + t)``.
        begins, every: in steps, of ``"swa"``.
        decay: of ``"ema"``.

    Raises:
        InvalidInput: unknown ``kind``.
    """
    one_of("average", kind, AVERAGES)
    optimizer = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> AveragedState:
        zero = jnp.int32(0)
        return AveragedState(optimizer.init(params), jax.tree.map(jnp.array, params), zero, zero)

    def update(
        updates: PyTree, state: AveragedState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, AveragedState]:
        told(params, extra)
        step: Any
        step, inside = optimizer.update(updates, state.inner, params, **extra)
        new: Any = optax.apply_updates(params, step)  # pyright: ignore[reportArgumentType]
        steps = state.steps + 1
        if kind == "swa":
            counts = (steps >= begins) & (steps % every == 0)
            count = state.count + counts.astype(jnp.int32)
            share = jnp.where(counts, 1 / jnp.maximum(count, 1), 0)
            share = jnp.where(steps < begins, 1, share)
        else:
            count = steps
            share = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))
        mean = jax.tree.map(lambda m, p: m + share.astype(m.dtype) * (p - m), state.mean, new)
        return step, AveragedState(inside, mean, steps, count)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def average(opt_state: optax.OptState) -> PyTree | None:
    """The average in an optimizer state, wherever `averaged` stands; None without one."""
    state = find_state(opt_state, AveragedState)
    return None if state is None else state.mean
