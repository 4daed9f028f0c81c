"""Rivals as methods of runs: PowerSGD and top-k between workers that hold a gradient each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from subspace.methods import register
from subspace.methods.base import Context
from subspace.methods.optimized import Optimized
from subspace.methods.rounds import InRounds
from subspace.optim.feedback import missed, nothing_missed, with_missed
from subspace.optim.in_subspace import chain
from subspace.optim.workers import AbstractWorkers, PerWorker
from subspace.options import option


class State(NamedTuple):
    """What each worker has missed, and of PowerSGD the right factors."""

    error: PerWorker
    right: list[jax.Array | None]


def power_sgd(
    workers: AbstractWorkers, rank: int, seed: int = 0
) -> optax.GradientTransformationExtraArgs:
    """As `compressors.PowerSGD`, told through collectives."""

    def init(params: PyTree) -> State:
        key = jax.random.key(seed, impl="threefry2x32")
        right = [
            jax.random.normal(jax.random.fold_in(key, i), (x.shape[-1], _rank(x)), x.dtype)
            if x.ndim > 1
            else None
            for i, x in enumerate(jax.tree.leaves(params))
        ]
        return State(nothing_missed(params), right)

    def _rank(x: Any) -> int:
        return min(rank, prod(x.shape[:-1]), x.shape[-1])

    def update(updates: PyTree, state: State, params: Any = None, **extra: Any) -> Any:
        wanted = with_missed(updates, state.error)
        leaves, treedef = jax.tree.flatten(wanted)
        flat = [x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x for x in leaves]
        told = workers.mean(
            [x if q is None else x @ q for x, q in zip(flat, state.right, strict=True)]
        )
        left = [
            None if q is None else jnp.linalg.qr(p)[0]
            for p, q in zip(told, state.right, strict=True)
        ]
        right = workers.mean(
            [None if p is None else x.T @ p for x, p in zip(flat, left, strict=True)]
        )
        agreed = treedef.unflatten(
            [
                mean if p is None or q is None else (p @ q.T).reshape(x.shape)
                for x, mean, p, q in zip(leaves, told, left, right, strict=True)
            ]
        )
        mine = treedef.unflatten(
            [
                x if p is None else a
                for x, a, p in zip(leaves, treedef.flatten_up_to(agreed), left, strict=True)
            ]
        )
        return agreed, State(missed(wanted, mine, state.error), right)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def top_k(workers: AbstractWorkers, k: int) -> optax.GradientTransformationExtraArgs:
    """As `compressors.TopK`: every worker's values and places are gathered."""

    def init(params: PyTree) -> PerWorker:
        return nothing_missed(params)

    def update(updates: PyTree, state: PerWorker, params: Any = None, **extra: Any) -> Any:
        wanted = with_missed(updates, state)
        vector, unravel = ravel_pytree(wanted)
        _, places = jax.lax.top_k(jnp.abs(vector), k)
        values, everywhere = workers.gather((vector[places], places))
        sent = jnp.zeros_like(vector).at[places].set(vector[places])
        mean = jnp.zeros_like(vector).at[everywhere].add(values) / workers.count()
        return unravel(mean), missed(wanted, unravel(sent), state)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


@dataclass(frozen=True, kw_only=True)
class Rival(Optimized, InRounds):
    """What is told in place of a gradient, or of a way."""

    counts_workers = True  # pyright: ignore

    def told(self, workers: AbstractWorkers) -> optax.GradientTransformationExtraArgs:
        raise NotImplementedError

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        told, inner = self.told(context.exchange.workers), self.inner(context)
        return self.in_rounds(inner, told) if self.rounds else chain(told, inner)


@dataclass(frozen=True, kw_only=True)
class PowerSGD(Rival):
    """PowerSGD (Vogels et al. 2019)."""

    rank: int = option(1, "Of a matrix's two factors.", least=1)

    def told(self, workers: AbstractWorkers) -> optax.GradientTransformationExtraArgs:
        return power_sgd(workers, self.rank)


@dataclass(frozen=True, kw_only=True)
class TopK(Rival):
    """Top-k with error feedback; with local steps SparseLoCo without quantisation."""

    k: int = option(125, "Values of each worker.", least=1)

    def told(self, workers: AbstractWorkers) -> optax.GradientTransformationExtraArgs:
        return top_k(workers, self.k)


def register_rivals() -> None:
    """Makes them known by name, in a process that compares them."""
    register("powersgd")(PowerSGD)
    register("topk")(TopK)
