"""Local steps: workers go ways of their own, and now and then agree on a common step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.optim.feedback import nothing_missed
from subspace.optim.in_subspace import find_state
from subspace.optim.workers import PerWorker, mine_of, own


class LocalState(NamedTuple):
    """What `local_steps` carries from step to step.

    Attributes:
        way: how far each worker has come since all stood at the same parameters.
        inner: of its own optimizer.
        outer: of what they agree by.
    """

    way: PerWorker
    inner: PerWorker
    outer: optax.OptState


def local_steps(
    inner: optax.GradientTransformation, outer: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Steps that each worker takes by itself, and a common one along what they come to.

    A step that isn't due moves no parameters: ``inner`` adds to the way of the worker, whose next
    gradient is that at `local_params`. In one that is, ``outer`` is given the way, negated, as if
    it were a gradient, and what it makes of it all workers take; their ways begin anew. With
    ``optax.sgd(0.7, 0.9, nesterov=True)`` of the mean way this is DiLoCo (Douillard et al. 2023,
    algorithm 1), with ``optax.sgd(1.0)`` FedAvg (McMahan et al. 2017). With an exchange of
    coordinates and error feedback in ``outer`` workers tell each other d numbers a round.

    Examples:
        >>> follow = in_subspace(space, None, exchange=Mean("data"), error_feedback=True)
        >>> optimizer = local_steps(optax.sgd(0.1), optax.chain(follow, optax.sgd(1.0)))
        >>> gradient = jax.grad(loss)(local_params(params, state), batch)
        >>> updates, state = optimizer.update(gradient, state, params, due=step % 8 == 7)

    Args:
        inner: any Optax transformation, of a worker's own gradients, not yet averaged.
        outer: turns what each worker brings into a step that is the same for all.
    """
    inner = optax.with_extra_args_support(inner)
    outer = optax.with_extra_args_support(outer)

    def init(params: PyTree) -> LocalState:
        return LocalState(nothing_missed(params), own(inner.init(params)), outer.init(params))

    def update(
        updates: PyTree,
        state: LocalState,
        params: PyTree | None = None,
        *,
        due: bool | None = True,
        **extra: Any,
    ) -> tuple[PyTree, LocalState]:
        here = None if params is None else _moved(params, state.way)
        step: Any
        step, mine = inner.update(updates, mine_of(state.inner), here, **extra)
        way = jax.tree.map(lambda w, s: w[0] + s.astype(w.dtype), state.way.each, step)
        if not due:
            still: Any = jax.tree.map(jnp.zeros_like, updates)
            return still, LocalState(own(way), own(mine), state.outer)
        back = jax.tree.map(lambda w, s: -w.astype(s.dtype), way, step)
        step, common = outer.update(back, state.outer, params, **extra)
        begun = jax.tree.map(jnp.zeros_like, way)
        return step, LocalState(own(begun), own(mine), common)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def local_params(params: PyTree, opt_state: optax.OptState) -> PyTree:
    """Where this worker stands; the parameters themselves of an optimizer without local steps."""
    state = find_state(opt_state, LocalState)
    return params if state is None else _moved(params, state.way)


def _moved(params: PyTree, way: PerWorker) -> PyTree:
    """Parameters a way further; of those that aren't trained there is none."""

    def moved(w: Any, p: Any) -> Any:
        return p if w is None else p + w[0].astype(p.dtype)

    return jax.tree.map(moved, way.each, params, is_leaf=lambda node: node is None)
