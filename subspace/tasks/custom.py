"""A task of the user's own, from functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.data.dataset import Dataset, Wanted
from subspace.errors import InvalidInput
from subspace.tasks.base import AbstractTask, Metric

Score = Callable[[Any, Any], Any]
"""(a model's output for one example, its target) -> a number."""


@final
@dataclass(frozen=True)
class Custom(AbstractTask):
    """A loss, and other metrics beside it, each a function of one output and one target.

    Attributes:
        loss: what is minimised.
        others: what is reported beside it, by metric; runs are compared by the first, or by the
            loss where there is none.

    Examples:
        >>> task = Custom(lambda output, target: jnp.sum((output - target) ** 2))
    """

    loss: Score
    others: Mapping[Metric, Score] = field(default_factory=dict)

    metrics: tuple[Metric, ...] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "metrics", (*self.others, Metric("loss")))

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        scores = {metric.name: score for metric, score in self.others.items()}
        found = {"loss": self.loss} | scores
        return {name: jnp.asarray(score(output, target)) for name, score in found.items()}

    def load(self, wanted: Wanted) -> Dataset:
        raise InvalidInput("dataset", "a task of functions has no datasets by name; give arrays")

    def build(self, model: str, dataset: Dataset, key: PRNGKeyArray) -> tuple[Any, Any]:
        raise InvalidInput("model", "a task of functions has no models by name; give one")
