"""What a run is made of: model, optimizer, steps, data order, evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from subspace import models
from subspace.config import RunConfig
from subspace.data import Dataset, Split
from subspace.errors import InvalidInput
from subspace.exchange import Mean
from subspace.step import (
    AXIS,
    Meters,
    Task,
    TrainState,
    data_mesh,
    make_eval_step,
    make_train_step,
    no_meters,
)
from subspace.transform import coordinates

_EVAL_BATCH = 256


class Trainer:
    """The pieces of a run, built from a configuration and data.

    Raises:
        InvalidInput: the model, the batch size or the subspace doesn't fit the data.
    """

    def __init__(self, config: RunConfig, dataset: Dataset):
        self.config = config
        self.dataset = dataset
        self.mesh = data_mesh()
        self.steps = len(dataset.train.labels) // config.batch_size
        self._check_batch()
        init_key = jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), 2**31)
        model, self._model_state = models.build(
            config.model, dataset.shape, dataset.classes, key=init_key
        )
        self.params, static = eqx.partition(
            models.with_axis(model, ("batch", AXIS)), eqx.is_inexact_array
        )
        self.parameters = models.parameter_count(self.params)
        self.optimizer = config.optimizer(self.params, Mean(AXIS))
        task = Task(
            static=static,
            optimizer=self.optimizer,
            mesh=self.mesh,
            batch_size=config.batch_size,
            steps=self.steps,
            augment=config.augment,
            seed=config.seed,
        )
        self.train_step = make_train_step(task)
        self.eval_step = make_eval_step(static, self.mesh)

    def _check_batch(self) -> None:
        config, examples = self.config, len(self.dataset.train.labels)
        if config.batch_size > examples:
            raise InvalidInput(
                "batch_size", f"{config.batch_size} exceeds the training split ({examples})"
            )
        if config.batch_size % self.mesh.size:
            raise InvalidInput(
                "batch_size",
                f"{config.batch_size} can't be divided among {self.mesh.size} devices; "
                f"use a multiple of {self.mesh.size}",
            )

    @property
    def dimensions(self) -> int:
        """d: coordinates that a step changes; D for a method without a subspace."""
        coords = jax.eval_shape(lambda p: coordinates(self.optimizer.init(p)), self.params)
        if coords is None:
            return self.parameters
        return sum(z.size for z in coords.values())

    def initial_state(self) -> TrainState:
        opt_state = self.optimizer.init(self.params)
        state = TrainState(self.params, self._model_state, opt_state, jnp.int32(0), no_meters())
        return self.placed(jax.tree.map(jnp.array, state))  # a copy, as steps donate it

    def placed(self, arrays: Any) -> Any:
        """The arrays on every device."""
        everywhere = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
        return jax.device_put(arrays, everywhere)

    def order(self, epoch: int) -> np.ndarray:
        """The examples of an epoch, in order: a function of (seed, epoch) alone."""
        examples = len(self.dataset.train.labels)
        shuffled = np.random.default_rng((self.config.seed, epoch)).permutation(examples)
        return shuffled[: self.steps * self.config.batch_size].astype(np.int32)

    def evaluate(self, state: TrainState, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy over a whole split; NaN for an empty one."""
        size = -(-_EVAL_BATCH // self.mesh.size) * self.mesh.size
        totals = [
            self.eval_step(state.params, state.model_state, *_padded(split, start, size))
            for start in range(0, len(split.labels), size)
        ]
        return means(totals)


def _padded(split: Split, start: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of exactly ``size`` from ``start``, and which of it is real."""
    images = np.asarray(split.images[start : start + size])
    labels = np.asarray(split.labels[start : start + size])
    missing = size - len(labels)
    valid = np.arange(size) < len(labels)
    images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return images, np.pad(labels, (0, missing)), valid


def means(meters: Sequence[Meters]) -> tuple[float, float]:
    """Mean loss and accuracy; NaN of no examples."""
    examples = sum(int(m.examples) for m in meters)
    if not examples:
        return math.nan, math.nan
    loss = sum(float(m.loss) for m in meters)
    return loss / examples, sum(int(m.correct) for m in meters) / examples
