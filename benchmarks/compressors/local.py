"""Many steps of one's own between exchanges: DiLoCo and SparseLoCo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from compressors.base import Compressor, Cost
from compressors.plain import Full
from compressors.sparse import TopK

Gradient = Callable[[PyTree, Any], PyTree]
"""(parameters, a batch) -> a gradient."""


class State(NamedTuple):
    """What a round hands on; ``inner`` has a leading axis of workers."""

    params: PyTree
    inner: Any
    outer: Any
    agreed: Any


@dataclass(frozen=True)
class LocalSteps:
    """H steps of each worker by itself, then one exchange of how far they came.

    The workers' mean way, compressed, is the gradient of an outer optimizer (Douillard et al. 2023,
    algorithm 1); afterwards all stand at the same parameters, and keep their inner state.

    Attributes:
        inner: what a worker steps with.
        outer: what the exchanged ways are a gradient of.
        compressor: of the ways.
    """

    inner: optax.GradientTransformation
    outer: optax.GradientTransformation
    compressor: Compressor

    def init(self, params: PyTree, workers: int) -> State:
        each = jax.tree.map(lambda x: jnp.stack([x] * workers), params)
        inner = jax.vmap(self.inner.init)(each)
        agreed = self.compressor.init(params, workers)
        return State(params, inner, self.outer.init(params), agreed)

    def round(self, gradient: Gradient, state: State, batches: Any) -> State:
        """One round; batches have the leading axes (workers, H)."""

        def worker(inner: Any, mine: Any) -> tuple[PyTree, Any]:
            def step(carry: Any, batch: Any) -> tuple[Any, None]:
                params, inner = carry
                updates, inner = self.inner.update(gradient(params, batch), inner, params)
                return (optax.apply_updates(params, updates), inner), None

            (params, inner), _ = jax.lax.scan(step, (state.params, inner), mine)
            return jax.tree.map(jnp.subtract, state.params, params), inner

        ways, inner = jax.vmap(worker)(state.inner, batches)
        way, agreed = self.compressor(ways, state.agreed)
        updates, outer = self.outer.update(way, state.outer, state.params)
        return State(optax.apply_updates(state.params, updates), inner, outer, agreed)

    def cost(self, params: PyTree, workers: int, steps: int) -> Cost:
        """Of a step of training, where a round has so many."""
        of_round = self.compressor.cost(params, workers)
        return Cost(of_round.sent / steps, of_round.received / steps)


def diloco(
    inner: optax.GradientTransformation, rate: float = 0.7, momentum: float = 0.9
) -> LocalSteps:
    """DiLoCo: the whole way, Nesterov's momentum outside (Douillard et al. 2023)."""
    return LocalSteps(inner, optax.sgd(rate, momentum, nesterov=True), Full())


def sparseloco(inner: optax.GradientTransformation, k: int, rate: float = 1.0) -> LocalSteps:
    """SparseLoCo (Sarfi et al. 2025): the k largest of the way with error feedback, no momentum
    outside, which the feedback takes the place of. Values aren't quantised here."""
    return LocalSteps(inner, optax.sgd(rate), TopK(k))
