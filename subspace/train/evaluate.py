"""A model's metrics over a whole split, and its statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from subspace.data.dataset import Split
from subspace.optim.workers import PerWorker
from subspace.tasks import AbstractTask
from subspace.train.mesh import AXIS, put
from subspace.train.step import Meters, make_eval_step, make_statistics_step

_BATCH = 256


class Evaluator:
    """Measures a model, given its parameters and state.

    Args:
        task: whose metrics are measured.
        static: the model without its parameters.
        mesh: of the devices that share the examples.
    """

    def __init__(self, task: AbstractTask, static: PyTree, mesh: Mesh):
        self._task, self._static, self._mesh = task, static, mesh
        self._evaluate = make_eval_step(task, static, mesh)

    def __call__(self, params: PyTree, model_state: PyTree, split: Split) -> dict[str, float]:
        """The mean of every metric over a whole split, by name; NaN for an empty one."""
        size = -(-_BATCH // self._mesh.size) * self._mesh.size
        totals = [
            self._evaluate(params, model_state, *self._divided(*_padded(split, start, size)))
            for start in range(0, len(split.targets), size)
        ]
        return mean_metrics(self._task, totals)

    def statistics(
        self, params: PyTree, model_state: PyTree, split: Split, most: int | None = None
    ) -> PyTree:
        """The model's state with batch statistics averaged over a split.

        The mean over batches, not augmented, at fixed parameters; of the first ``most`` examples.
        """
        if not jax.tree.leaves(model_state):
            return model_state
        inputs, count = split.inputs, len(split.inputs)
        if most is not None:
            count = min(count, max(most, self._mesh.size))
        size = min(_BATCH, count) // self._mesh.size * self._mesh.size
        starts = range(0, count - size + 1, size)
        total: Any = None
        for start in starts:
            (batch,) = self._divided(inputs[start : start + size])
            found = self._measure(params, model_state, batch)
            total = found if total is None else jax.tree.map(lambda a, b: a + b, total, found)
        return jax.tree.map(lambda x: x / np.float32(len(starts)), total)

    @cached_property
    def _measure(self) -> Callable[..., PyTree]:
        return make_statistics_step(self._task, self._static, self._mesh)

    def _divided(self, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
        """Each array's rows divided among the devices."""
        return put(self._mesh, arrays, (P(AXIS),) * len(arrays))


def _padded(split: Split, start: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of exactly ``size`` from ``start``, and which of it is real."""
    inputs = np.asarray(split.inputs[start : start + size])
    targets = np.asarray(split.targets[start : start + size])
    valid = np.arange(size) < len(targets)
    missing = size - len(targets)
    inputs, targets = (
        np.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1))) for x in (inputs, targets)
    )
    return inputs, targets, valid


@jax.jit
def totals(meters: PerWorker) -> Meters:
    """Of all workers; every process has to ask at the same time."""
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), meters.each)


def seen_here(meters: PerWorker) -> Meters:
    """Of the workers of this process."""

    def total(leaf: Any) -> Any:
        return sum(np.asarray(shard.data).sum(0) for shard in leaf.addressable_shards)

    return jax.tree.map(total, meters.each)


def mean_metrics(task: AbstractTask, meters: Sequence[Meters]) -> dict[str, float]:
    """The mean of every metric; NaN of no examples."""
    examples = sum(int(one.examples) for one in meters)
    names = [metric.name for metric in task.metrics]
    if not examples:
        return dict.fromkeys(names, math.nan)
    return {name: sum(float(one.sums[name]) for one in meters) / examples for name in names}
