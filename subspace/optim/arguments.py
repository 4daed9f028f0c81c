"""What the functions of the library are given: checked before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from subspace.errors import InvalidInput
from subspace.optim.exchange import AbstractExchange
from subspace.spaces.base import AbstractSubspace
from subspace.spaces.shards import sharding_of

Optimizer = optax.GradientTransformationExtraArgs


def check_rate(learning_rate: Any) -> None:
    """Raises InvalidInput unless it is a number from 0, an array of one, or a schedule."""
    if callable(learning_rate):
        return
    if isinstance(learning_rate, jax.Array | np.ndarray) and np.ndim(learning_rate) == 0:
        return
    number = isinstance(learning_rate, int | float | np.number) and learning_rate is not True
    if not (number and math.isfinite(learning_rate) and learning_rate >= 0):
        raise InvalidInput(
            "learning_rate", f"must be a number from 0, or a schedule, got {learning_rate!r}"
        )


def check_exchange(exchange: Any) -> None:
    """Raises InvalidInput unless it is an exchange."""
    if not isinstance(exchange, AbstractExchange):
        raise InvalidInput(
            "exchange", f"must be Alone(), Mean(axis) or Gather(workers), got {exchange!r}"
        )


def check_space(space: Any) -> None:
    """Raises InvalidInput unless it is a subspace."""
    if not isinstance(space, AbstractSubspace):
        raise InvalidInput(
            "space",
            f"must be a subspace, as TrajectorySubspace.fit makes one, got {type(space).__name__}",
        )


def check_alike(what: str, tree: PyTree, like: PyTree | None) -> None:
    """Raises InvalidInput, of ``what``, unless its leaves have the shapes of another tree's."""
    if like is None:
        return
    leaves, wanted = jax.tree_util.tree_flatten_with_path(tree)[0], jax.tree.leaves(like)
    if len(leaves) != len(wanted):
        raise InvalidInput(what, f"are {len(leaves)} arrays, the parameters {len(wanted)}")
    for (path, leaf), other in zip(leaves, wanted, strict=True):
        if jnp.shape(leaf) != other.shape:
            name = jax.tree_util.keystr(path)
            raise InvalidInput(
                what, f"{name} has shape {jnp.shape(leaf)}, the parameter {other.shape}"
            )


def told(params: PyTree | None, extra: dict[str, Any], *names: str) -> dict[str, Any]:
    """What ``update`` was told of the loss beside the gradient, by these names.

    Raises:
        InvalidInput: one of them is missing, or the parameters are.
    """
    missing = [name for name in names if extra.get(name) is None]
    if params is None:
        missing.insert(0, "params")
    if missing:
        raise InvalidInput(
            "update",
            f"misses {', '.join(missing)}; call update(grads, state, params, value=loss, "
            "grad=grads, value_fn=loss_of_params)",
        )
    return {name: extra[name] for name in names}


def for_the_tree_of_init(build: Callable[[PyTree], Optimizer], params: PyTree) -> Optimizer:
    """The optimizer that ``build`` makes for the parameters that ``init`` is given.

    As Optax's own do, so that wrappers which show it a part of the tree, or another tree of the
    same numbers, are free to: `optax.masked`, `optax.multi_transform`, `optax.flatten`, Flax's
    `nnx.Optimizer`. For ``params``, with which arguments are checked at once, it is the same.
    """
    made = {_kind(params): (build(params), jax.tree.structure(params))}

    def of(tree: PyTree) -> tuple[Optimizer, Any]:
        kind = _kind(tree)
        alike = next((have for have in made if _shapes(have) == _shapes(kind)), kind)
        kind = kind if kind in made else alike  # NNX calls the same leaves by other names
        if kind not in made:
            with jax.ensure_compile_time_eval():  # it outlives the trace that asks for it
                made[kind] = build(jax.tree.map(_shape, tree)), jax.tree.structure(tree)
        return made[kind]

    def init(params: PyTree) -> optax.OptState:
        optimizer, structure = of(params)
        return optimizer.init(_as(structure, params))

    def update(
        updates: PyTree, state: optax.OptState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, optax.OptState]:
        check_alike("updates", updates, params)  # or another optimizer would be made for them
        optimizer, structure = of(updates)
        given, value_fn = jax.tree.structure(updates), extra.get("value_fn")
        if value_fn is not None and given != structure:
            extra["value_fn"] = lambda tree, *part: value_fn(_as(given, tree), *part)
        params = None if params is None else _as(structure, params)
        updates, state = optimizer.update(_as(structure, updates), state, params, **extra)
        return _as(given, updates), state

    return Optimizer(init, update)  # pyright: ignore


def _as(structure: Any, tree: PyTree) -> PyTree:
    """The same leaves in a structure that differs in what nodes say beside their leaves."""
    return jax.tree.unflatten(structure, jax.tree.leaves(tree))


def _kind(tree: PyTree) -> Any:
    """What two trees of the same parameters have in common."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return tuple((jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in leaves)


def _shapes(kind: Any) -> Any:
    return tuple(shape for _, shape in kind)


def _shape(leaf: Any) -> Any:
    """Of an array: its numbers aren't kept."""
    return jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype, sharding=sharding_of(leaf))
