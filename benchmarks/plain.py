"""Training of one phase's optimizer without the trainer, a step at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace import models
from subspace.config.phase import Phase
from subspace.data.augment import prepare
from subspace.natural.capture import capture


class Training:
    """A network, an optimizer and their state; steps change it.

    Args:
        network: an Equinox model and its state, as `subspace.models.build` returns them.
        phase: what gives the optimizer, the batch size and when curvature is refreshed.
    """

    def __init__(self, network: tuple[PyTree, Any], phase: Phase, *, steps: int, seed: int):
        model, self._state = network
        self._params, self._static = eqx.partition(model, eqx.is_inexact_array)
        self._optimizer = phase.optimizer(self._params, steps=steps, seed=seed)
        self._opt_state = self._optimizer.init(self._params)
        self._due, self._steps = phase.method.due, steps
        self._count = 0

    def step(self, images: Any, labels: Any) -> jax.Array:
        """One step along a batch; its loss before the step."""
        due = self._due(self._count, self._steps)
        self._count += 1
        self._params, self._opt_state, value = self._step(
            self._params, self._opt_state, (images, labels), due=due
        )
        return value

    def compile(self, images: Any, labels: Any) -> None:
        """Two steps that are taken back: one that refreshes curvature and one that doesn't."""
        kept = jax.tree.map(jnp.copy, (self._params, self._opt_state))
        for _ in range(2):
            jax.block_until_ready(self.step(images, labels))
        (self._params, self._opt_state), self._count = kept, 0

    def accuracy(self, images: Any, labels: Any) -> float:
        """Of the network as it is now."""
        return float(self._accuracy(self._params, images, labels))

    def _logits(self, model: PyTree, images: Any) -> Any:
        return models.apply(model, self._state, prepare(images))[0]

    def _loss(self, model: PyTree, images: Any, labels: Any) -> Any:
        logits = self._logits(model, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def _of_one(self, model: PyTree, example: Any) -> Any:
        return self._loss(model, *(part[None] for part in example))

    @partial(jax.jit, static_argnames=("self", "due"), donate_argnames=("params", "opt_state"))
    def _step(self, params: PyTree, opt_state: Any, batch: Any, *, due: bool | None) -> Any:
        def loss(params: PyTree) -> Any:
            return self._loss(eqx.combine(params, self._static), *batch)

        def rows_fn(params: PyTree) -> Any:
            return capture(eqx.combine(params, self._static), self._of_one, batch)

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = self._optimizer.update(
            grads, opt_state, params, rows_fn=rows_fn, due=due
        )
        return optax.apply_updates(params, updates), opt_state, value

    @partial(jax.jit, static_argnames="self")
    def _accuracy(self, params: PyTree, images: Any, labels: Any) -> Any:
        logits = self._logits(eqx.combine(params, self._static), images)
        return (logits.argmax(-1) == labels).mean()
