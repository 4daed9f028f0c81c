"""Regression: numbers from arrays."""

from __future__ import annotations

from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float

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

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        return errors(output, target)

    def load(self, wanted: dataset.Wanted) -> dataset.Dataset:
        return arrays.load_numbers(wanted)
