"""An optimizer of some parameters, that leaves the others as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.errors import InvalidInput
from subspace.spaces.adapter import matches, names_of, patterns


def trained(params: PyTree, freeze: str | None) -> PyTree | None:
    """Which leaves are trained, where those whose names fit patterns aren't; None for all.

    Args:
        params: the parameters.
        freeze: patterns between commas, such as ``embeddings.*,layers.0.*``.

    Raises:
        InvalidInput: a pattern fits no name, or all are frozen.
    """
    if freeze is None:
        return None
    names = names_of(params)
    for one in patterns(freeze):
        if not any(matches(name, (one,)) for name in names):
            raise InvalidInput("freeze", f"no parameter is called {one}; there are {names[0]}, ...")
    kept = [not matches(name, patterns(freeze)) for name in names]
    if not any(kept):
        raise InvalidInput("freeze", "leaves nothing to train; freeze less")
    return jax.tree.unflatten(jax.tree.structure(params), kept)


def on_some(
    make: Callable[[PyTree], optax.GradientTransformationExtraArgs], params: PyTree, which: PyTree
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that sees, and keeps state for, some of the leaves only.

    Unlike `optax.masked` it also gives it the loss as a function of these alone.

    Args:
        make: the optimizer, from a tree of parameters.
        params: all of them, or their shapes.
        which: for each leaf whether it is trained.
    """
    inner = make(eqx.filter(params, which))

    def init(params: PyTree) -> Any:
        return inner.init(eqx.filter(params, which))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        some = None if params is None else eqx.filter(params, which)
        value_fn = extra.get("value_fn")
        if value_fn is not None and params is not None:
            rest = eqx.filter(params, which, inverse=True)
            extra["value_fn"] = lambda p, *more: value_fn(eqx.combine(p, rest), *more)
        step, state = inner.update(eqx.filter(updates, which), state, some, **extra)  # pyright: ignore
        still = jax.tree.map(jnp.zeros_like, eqx.filter(updates, which, inverse=True))
        return eqx.combine(step, still), state

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore
