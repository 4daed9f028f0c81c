"""What a run is made of: task, model, phases, data order, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PRNGKeyArray

from subspace import models, pretrained
from subspace.config.phase import Phase
from subspace.config.run import RunConfig, check_samples
from subspace.data.dataset import Dataset, Split
from subspace.data.shares import Shares, divide
from subspace.errors import InvalidInput, in_phase
from subspace.methods import OnTrajectory
from subspace.optim.exchange import AbstractExchange
from subspace.optim.frozen import on_some, trained
from subspace.optim.workers import PerWorker
from subspace.store.weights import TakenOver, Weights
from subspace.tasks import TASKS, AbstractTask
from subspace.tasks.base import Like
from subspace.train.evaluate import Evaluator
from subspace.train.mesh import data_mesh, for_workers, placement, put
from subspace.train.running import PlacedPhase, RunningPhase, dimensions, placed
from subspace.train.step import (
    StepPlan,
    TrainState,
    make_gradient,
    make_train_step,
    no_meters,
    worker_axes,
)

Build = Callable[[Dataset, Any], tuple[Any, Any]]
"""(the data, a key) -> a model and its state."""


def model_key(seed: int) -> PRNGKeyArray:
    """What a run's model is initialised from."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 2**31)


def direction_seed(config: RunConfig, index: int) -> int:
    """Every phase has directions of its own; a plain run's are named by its seed."""
    if index == 0 and not config.epochs_before:
        return config.seed
    seeds = np.random.SeedSequence((config.seed, config.epochs_before, index))
    return int(seeds.generate_state(1)[0])


class Trainer:
    """The pieces of a run, built from a configuration and data.

    Args:
        config: of the run.
        dataset: its data.
        taken_over: gives, for freshly drawn weights, what the run takes over from another one.
        task: what is trained; by default the configuration's.
        build: makes the model; by default the configuration's.

    Raises:
        InvalidInput: the model, a batch size or a subspace doesn't fit the data.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        taken_over: Callable[[Weights], TakenOver | None] = lambda fresh: None,
        task: AbstractTask | None = None,
        build: Build | None = None,
    ):
        self.config, self.dataset = config, dataset
        self.task = TASKS[config.task] if task is None else task
        self.mesh = data_mesh(config.participants)
        key = model_key(config.seed)
        named = config.architecture
        folder = None if named is None else pretrained.model_in(named, "architecture")
        like = Like(folder, config.pooling)
        make = build or partial(self.task.build_like, like, config.model)
        model, model_state = make(dataset, key)
        params, self._static = eqx.partition(model, eqx.is_inexact_array)
        fresh = Weights(params, model_state)
        self.weights, self.source_rows = taken_over(fresh) or TakenOver(fresh, None)
        self.parameters = models.parameter_count(params)
        self.trained = trained(params, config.freeze)
        self.shares = self._divided() if config.divides_examples else None
        self.phases = placed(config.phases, len(dataset.train.targets))
        for place in self.phases:
            with in_phase(place.index, place.phase.method.name):
                self._check(place)
        if self.phases[-1].end_step >= 2**31:
            raise InvalidInput("epochs", "the run has 2**31 steps or more; use fewer epochs")
        self._evaluator = Evaluator(self.task, self._static, self.mesh)

    def _check(self, place: PlacedPhase) -> None:
        phase, examples = place.phase, len(self.dataset.train.targets)
        workers = 1 if phase.splits_directions else self.workers(phase)
        if self.shares is not None:
            workers = self.shares.present
            self._check_share(phase.batch_size // workers, self.shares.rows.shape[1])
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
        share, parts = phase.batch_size // workers, phase.values.get("accumulate", 1)
        if share % parts:
            raise InvalidInput(
                "accumulate", f"{share} examples of a worker don't make {parts} equal parts"
            )
        if phase.method.needs_rows and self.config.dtype != "float32":
            raise InvalidInput("dtype", f"{phase.method.name} needs float32; leave it out")
        if phase.on_trajectory:
            self._check_samples(place)
            return
        optimizer = self._optimizer(phase, self.weights.params, 1, 0, self.exchange(phase))
        d = dimensions(phase.method, optimizer, self.weights.params)
        phase.method.check_batch(phase.batch_size // workers, d)

    def _divided(self) -> Shares:
        config = self.config
        workers = config.workers or self.mesh.size
        if workers == 1:
            name = "skew" if config.skew is not None else "participation"
            raise InvalidInput(name, "goes with several workers; say how many with workers")
        present = config.participants or self.mesh.size
        return divide(self.dataset.train, workers, present, config.skew, config.seed)

    def _check_share(self, share: int, held: int) -> None:
        if share > held:
            raise InvalidInput(
                "workers", f"each holds {held} examples, and a step takes {share}; use fewer"
            )

    def workers(self, phase: Phase) -> int:
        """How many share a step: with a mean as many as devices, as it makes no difference."""
        if phase.shares_by_mean:
            return self.mesh.size
        return self.config.participants or self.mesh.size

    def exchange(self, phase: Phase) -> AbstractExchange:
        """How the workers share a step."""
        workers = self.workers(phase)
        return phase.exchange(worker_axes(self.mesh, workers), workers, self.config.seed)

    def _check_samples(self, place: PlacedPhase) -> None:
        sampling = self.config.sampled_by(place.index)
        if sampling is not None:
            check_samples(place.phase, self.phases[sampling].samples)
        elif self.source_rows is not None:
            check_samples(place.phase, len(self.source_rows))
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

    def running(self, index: int, rows: Float[np.ndarray, "t n"] | None = None) -> RunningPhase:
        """A phase, ready to run.

        Args:
            index: of the phase.
            rows: for a phase on a trajectory, its samples, each as from `row`; by default those of
                the run that this one goes on from.

        Raises:
            InvalidInput: the samples don't span as many directions as wanted.
        """
        place, start = self.phases[index], None
        target: Any = self.weights.params
        if isinstance(place.phase.method, OnTrajectory):
            rows = self.source_rows if rows is None else rows
            assert rows is not None
            method = place.phase.method
            rows = rows[len(rows) - method.counted(len(rows)) :]
            with in_phase(index, method.name):
                params = self.weights.params
                target = method.space(rows[:, : self.parameters], params, divided=True)
            start = self._start(method.start, rows)
        optimizer = self.optimizer(place, target, self.exchange(place.phase))
        plan = self.plan(place, optimizer)
        step, gradient = make_train_step(plan), make_gradient(plan)
        return RunningPhase(place, optimizer, step, gradient, start, self.trained)

    def plan(
        self, place: PlacedPhase, optimizer: optax.GradientTransformationExtraArgs
    ) -> StepPlan:
        """What a step of a phase trains, and on what."""
        phase, config = place.phase, self.config
        return StepPlan(
            task=self.task,
            static=self._static,
            optimizer=optimizer,
            mesh=self.mesh,
            workers=self.workers(phase),
            same_batch=phase.splits_directions,
            batch_size=phase.batch_size,
            steps=place.steps,
            first_step=place.first_step,
            augment=bool(config.augment),
            seed=config.seed,
            epochs_before=config.epochs_before,
            needs_rows=phase.method.needs_rows,
            accumulate=phase.values.get("accumulate", 1),
            dtype=config.dtype,
        )

    def optimizer(
        self, place: PlacedPhase, target: Any, exchange: AbstractExchange
    ) -> optax.GradientTransformationExtraArgs:
        """A phase's, on parameters or a trajectory; its state names the random directions."""
        seed = direction_seed(self.config, place.index)
        return self._optimizer(place.phase, target, place.steps, seed, exchange)

    def _optimizer(
        self, phase: Phase, target: Any, steps: int, seed: int, exchange: AbstractExchange
    ) -> optax.GradientTransformationExtraArgs:
        def make(params: Any) -> optax.GradientTransformationExtraArgs:
            return phase.optimizer(params, steps=steps, seed=seed, exchange=exchange)

        if self.trained is None or phase.on_trajectory:  # where what is frozen hasn't moved
            return make(target)
        if phase.method.needs_rows:
            raise InvalidInput("freeze", f"doesn't go with {phase.method.name}; leave it out")
        return on_some(make, target, self.trained)

    def _start(self, start: str | None, rows: Float[np.ndarray, "t n"]) -> Weights | None:
        if start == "here":
            return None
        _, unravel = ravel_pytree(self.weights)
        if start == "average":
            row = rows.mean(axis=0, dtype=np.float64)
        else:
            row = rows[0 if start == "first" else -1]
        return unravel(jnp.asarray(row, jnp.float32))

    def model(self, weights: Weights | TrainState) -> Any:
        """The model with these weights."""
        return eqx.combine(weights.params, self._static)

    def first_state(self, running: RunningPhase, weights: Weights, workers: int) -> TrainState:
        """The state before a phase's first step."""
        return running.state(weights, workers, no_meters(self.task))

    def no_meters(self, phase: Phase) -> PerWorker:
        """Of a phase's workers, before an epoch."""
        return self.placed(for_workers(no_meters(self.task), self.workers(phase)))

    def placed(self, arrays: Any) -> Any:
        """The arrays on every device, except what belongs to one worker alone."""
        return put(self.mesh, arrays, placement(arrays))

    def order(self, place: PlacedPhase, epoch: int) -> np.ndarray:
        """The examples of an epoch of the run, in order: a function of (seed, epoch) alone."""
        examples = len(self.dataset.train.targets)
        seeds = self.config.seed, self.config.epochs_before + epoch
        if self.shares is not None:
            phase = place.phase
            return self.shares.order(place.steps, phase.batch_size, phase.steps_of_a_round, seeds)
        shuffled = np.random.default_rng(seeds).permutation(examples)
        return shuffled[: place.steps * place.phase.batch_size].astype(np.int32)

    def evaluate(self, weights: Weights | TrainState, split: Split) -> dict[str, float]:
        """The mean of the task's metrics over a whole split; NaN for an empty one."""
        return self._evaluator(weights.params, weights.model_state, split)

    def held_out_loss(self, weights: Weights | TrainState, measured: bool) -> float:
        """The mean loss over the validation split.

        Args:
            weights: of the model.
            measured: batch statistics are those of as many training examples, as the running ones
                lag behind.
        """
        train, held_out = self.dataset.train, self.dataset.validation
        state = weights.model_state
        if measured:
            most = len(held_out.targets)
            state = self.placed(self._evaluator.statistics(weights.params, state, train, most))
        return self._evaluator(weights.params, state, held_out)["loss"]

    def recalibrated(self, weights: Weights | TrainState) -> Any:
        """The model's state with batch statistics averaged over the training split."""
        split = self.dataset.train
        return self._evaluator.statistics(weights.params, weights.model_state, split)
