"""Regression: numbers from arrays."""

from __future__ import annotations

from typing import Any, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from subspace import models
from subspace.data import arrays, dataset
from subspace.tasks.base import AbstractTask, Metric


def errors(output: Float[Array, "*n"], target: Array) -> dict[str, Float[Array, ""]]:
    """Squared and absolute error of one example, the means over its numbers."""
    gap = output - target.reshape(output.shape).astype(output.dtype)
    return {"loss": jnp.mean(gap**2), "absolute_error": jnp.mean(jnp.abs(gap))}


@final
class Regression(AbstractTask):
    """Vectors of numbers from inputs of any shape, squared error."""

    metrics = (
        Metric("absolute_error"),
        Metric("loss", "squared error"),
    )

    def prepare(self, inputs: Array) -> Array:
        return inputs.astype(jnp.float32)

    def augment(self, inputs: Array, keys: Key[Array, " batch"]) -> Array:
        del keys
        return self.prepare(inputs)

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        return errors(output, target)

    def load(self, wanted: dataset.Wanted) -> dataset.Dataset:
        return arrays.load_numbers(wanted)

    def build(self, model: str, dataset: dataset.Dataset, key: PRNGKeyArray) -> tuple[Any, Any]:
        return models.build(model, dataset.shape, dataset.outputs, key=key)
