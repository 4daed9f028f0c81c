"""What a run is made of: model, phases, data order, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from subspace import models
from subspace.config.phase import Phase
from subspace.config.run import RunConfig, check_dim
from subspace.data.dataset import Dataset, Split
from subspace.errors import InvalidInput, in_phase
from subspace.optim.exchange import AbstractExchange
from subspace.spaces.random import RandomSubspace
from subspace.spaces.trajectory import TrajectorySubspace
from subspace.store.weights import TakenOver, Weights
from subspace.train.mesh import AXIS, data_mesh, placement, put
from subspace.train.running import Span, Stage, dimensions, spans
from subspace.train.step import (
    Meters,
    Task,
    TrainState,
    make_eval_step,
    make_gradient,
    make_statistics_step,
    make_train_step,
    worker_axes,
)

_EVAL_BATCH = 256


class Trainer:
    """The pieces of a run, built from a configuration and data.

    Args:
        config: of the run.
        dataset: its data.
        source: gives, for freshly drawn weights, what the run takes over from another one.

    Raises:
        InvalidInput: the model, a batch size or a subspace doesn't fit the data.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        source: Callable[[Weights], TakenOver | None] = lambda fresh: None,
    ):
        self.config = config
        self.dataset = dataset
        self.mesh = data_mesh(config.workers)
        init_key = jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), 2**31)
        model, model_state = models.build(
            config.model, dataset.shape, dataset.classes, key=init_key
        )
        params, self._static = eqx.partition(model, eqx.is_inexact_array)
        fresh = Weights(params, model_state)
        self.weights, self.source_rows = source(fresh) or TakenOver(fresh, None)
        self.parameters = models.parameter_count(params)
        self.spans = spans(config.phases, len(dataset.train.labels))
        for span in self.spans:
            with in_phase(span.index, span.phase.method):
                self._check(span)
        if self.spans[-1].end_step >= 2**31:
            raise InvalidInput("epochs", "the run has 2**31 steps or more; use fewer epochs")
        self._evaluate = make_eval_step(self._static, self.mesh)

    def _check(self, span: Span) -> None:
        phase, examples = span.phase, len(self.dataset.train.labels)
        workers = 1 if phase.exchange == "split" else self.workers(phase)
        if phase.batch_size > examples:
            raise InvalidInput(
                "batch_size", f"{phase.batch_size} exceeds the training split ({examples})"
            )
        if phase.batch_size % workers:
            raise InvalidInput(
                "batch_size",
                f"{phase.batch_size} can't be divided among {workers} workers; "
                f"use a multiple of {workers}",
            )
        target: Any = self.weights.params
        if phase.on_trajectory:
            self._check_samples(span)
            target = RandomSubspace(target, dim=1)  # stands in for what is still to be sampled
        optimizer = phase.optimizer(target, steps=1, seed=0, exchange=self.exchange(phase))
        directions = dimensions(phase, optimizer, self.weights.params)
        if phase.separate_batches and phase.batch_size < directions * workers:
            raise InvalidInput(
                "batch_size",
                f"{phase.batch_size} examples can't be shared out among {directions} directions; "
                f"use at least {directions * workers}",
            )

    def workers(self, phase: Phase) -> int:
        """How many share a step: with a mean as many as devices, as it makes no difference."""
        if phase.exchange in (None, "mean"):
            return self.mesh.size
        return self.config.workers or self.mesh.size

    def exchange(self, phase: Phase) -> AbstractExchange:
        """How the workers share a step."""
        workers = self.workers(phase)
        return phase.build_exchange(worker_axes(self.mesh, workers), workers)

    def _check_samples(self, span: Span) -> None:
        sampling = self.config.sampled_by(span.index)
        if sampling is not None:
            check_dim(span.phase, self.spans[sampling].samples)
        elif self.source_rows is not None:
            check_dim(span.phase, len(self.source_rows))
            samples = self.source_rows[:, : self.parameters]
            if all(np.array_equal(row, samples[0]) for row in samples):
                raise InvalidInput(
                    "source", "its samples are all equal; record them while the parameters move"
                )

    @property
    def row_size(self) -> int:
        """Numbers in a sample of the trajectory: parameters, then the model's state."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.weights))

    def row(self, weights: Weights | TrainState) -> Float[np.ndarray, " n"]:
        """A sample of the trajectory."""
        leaves = jax.tree.leaves((weights.params, weights.model_state))
        return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves])

    def stage(self, index: int, rows: Float[np.ndarray, "t n"] | None = None) -> Stage:
        """A phase, ready to run.

        Args:
            index: of the phase.
            rows: for a phase on a trajectory, its samples, each as from `row`; by default those of
                the run that this one goes on from.

        Raises:
            InvalidInput: the samples don't span as many directions as wanted.
        """
        span, phase = self.spans[index], self.config.phases[index]
        target: Any = self.weights.params
        start = None
        if phase.on_trajectory:
            rows = self.source_rows if rows is None else rows
            assert rows is not None
            assert phase.dim is not None
            with in_phase(index, phase.method):
                target = TrajectorySubspace.fit(
                    rows[:, : self.parameters], phase.dim, self.weights.params, divided=True
                )
            start = self._start(phase, rows)
        optimizer = self.optimizer(span, target, self.exchange(phase))
        task = self.task(span, optimizer)
        return Stage(span, optimizer, make_train_step(task), make_gradient(task), start)

    def task(self, span: Span, optimizer: optax.GradientTransformationExtraArgs) -> Task:
        """What a step of a phase trains, and on what."""
        phase = span.phase
        return Task(
            static=self._static,
            optimizer=optimizer,
            mesh=self.mesh,
            workers=self.workers(phase),
            same_batch=phase.exchange == "split",
            batch_size=phase.batch_size,
            steps=span.steps,
            first_step=span.first_step,
            augment=self.config.augment,
            seed=self.config.seed,
            stream=self.config.epochs_before,
        )

    def optimizer(
        self, span: Span, target: Any, exchange: AbstractExchange
    ) -> optax.GradientTransformationExtraArgs:
        """A phase's, on parameters or a trajectory; its state names the random directions."""
        seed = self._direction_seed(span.index)
        return span.phase.optimizer(target, steps=span.steps, seed=seed, exchange=exchange)

    def _direction_seed(self, index: int) -> int:
        """Every phase has directions of its own; a plain run's are named by its seed."""
        config = self.config
        if index == 0 and not config.epochs_before:
            return config.seed
        seeds = np.random.SeedSequence((config.seed, config.epochs_before, index))
        return int(seeds.generate_state(1)[0])

    def _start(self, phase: Phase, rows: Float[np.ndarray, "t n"]) -> Weights | None:
        if phase.start == "here":
            return None
        _, unravel = ravel_pytree(self.weights)
        return unravel(jnp.asarray(rows[0 if phase.start == "first" else -1], jnp.float32))

    def placed(self, arrays: Any) -> Any:
        """The arrays on every device, except what belongs to one worker alone."""
        return put(self.mesh, arrays, placement(arrays))

    def order(self, span: Span, epoch: int) -> np.ndarray:
        """The examples of an epoch of the run, in order: a function of (seed, epoch) alone."""
        examples = len(self.dataset.train.labels)
        seeds = self.config.seed, self.config.epochs_before + epoch
        shuffled = np.random.default_rng(seeds).permutation(examples)
        return shuffled[: span.steps * span.phase.batch_size].astype(np.int32)

    def evaluate(self, weights: Weights | TrainState, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy over a whole split; NaN for an empty one."""
        size = -(-_EVAL_BATCH // self.mesh.size) * self.mesh.size
        totals = [
            self._evaluate(
                weights.params, weights.model_state, *self._divided(*_padded(split, start, size))
            )
            for start in range(0, len(split.labels), size)
        ]
        return means(totals)

    def _divided(self, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
        """Each array's rows divided among the devices."""
        return put(self.mesh, arrays, (P(AXIS),) * len(arrays))

    def recalibrated(self, weights: Weights | TrainState) -> Any:
        """The model's state with batch statistics averaged over the training split.

        The mean over batches of `_EVAL_BATCH` images, not augmented, at fixed parameters.
        """
        if not jax.tree.leaves(weights.model_state):
            return weights.model_state
        measure = make_statistics_step(self._static, self.mesh)
        images = self.dataset.train.images
        size = min(_EVAL_BATCH, len(images)) // self.mesh.size * self.mesh.size
        starts = range(0, len(images) - size + 1, size)
        total: Any = None
        for start in starts:
            (batch,) = self._divided(images[start : start + size])
            found = measure(weights.params, weights.model_state, batch)
            total = found if total is None else jax.tree.map(lambda a, b: a + b, total, found)
        return jax.tree.map(lambda x: x / np.float32(len(starts)), total)


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
