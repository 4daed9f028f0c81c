"""Steps that the benchmarks of speed share: networks, optimizers, compiled programs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import subspace
from subspace import models
from subspace.basis import BASES, AbstractRowBasis
from subspace.methods import METHODS
from subspace.methods.random import RBD
from subspace.optim.linesearch import search_counts

DIM, DIRECTIONS, CLASSES = 250, 15, 10
RATE = 1e-3
DEFAULT = RBD().basis
Make = Callable[[PyTree], optax.GradientTransformation]


class Program:
    """A compiled step that keeps what it carries, donated; a call takes one.

    Attributes:
        seconds: that tracing and compiling it took.
        carry: what the last step returned.
    """

    def __init__(self, step: Callable[..., Any], carry: Any, *fixed: Any):
        start = time.perf_counter()
        self.compiled = jax.jit(step, donate_argnums=0).lower(carry, *fixed).compile()
        self.seconds = time.perf_counter() - start
        self.carry, self._fixed = carry, fixed

    def __call__(self) -> Any:
        self.carry = self.compiled(self.carry, *self._fixed)
        return self.carry

    @property
    def temporary(self) -> float:
        """Bytes that it needs beside its arguments and results, if the compiler says."""
        memory = self.compiled.memory_analysis()
        return float("nan") if memory is None else float(memory.temp_size_in_bytes)


@functools.cache
def problem(model: str, shape: tuple[int, int, int], batch: int) -> Problem:
    """The same for all that ask for it."""
    return Problem(model, shape, batch)


class Problem:
    """A network, a batch of noise, and the loss of one on the other."""

    def __init__(self, model: str, shape: tuple[int, int, int], batch: int):
        built, self._state = models.build(model, shape, CLASSES, key=jax.random.key(0))
        self.params, self._static = eqx.partition(built, eqx.is_inexact_array)
        self.batch = (
            jax.random.normal(jax.random.key(1), (batch, *shape)),
            jax.random.randint(jax.random.key(2), (batch,), 0, CLASSES),
        )

    def loss(self, params: PyTree, batch: Any) -> Any:
        images, labels = batch
        logits, _ = models.apply(eqx.combine(params, self._static), self._state, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def training(self, make: Make) -> Program:
        """Whole steps: gradient, update, apply; or what the method measures instead of it."""
        optimizer = optax.with_extra_args_support(make(self.params))

        def step(carry: Any, batch: Any) -> Any:
            loss = partial(self.loss, batch=batch)
            value, grads = jax.value_and_grad(loss)(carry[0])
            return _moved(optimizer, carry, grads, value=value, value_fn=loss)

        return Program(step, _start(optimizer, self.params), self.batch)

    def gradient(self) -> Program:
        def step(_: PyTree, params: PyTree, batch: Any) -> PyTree:
            return jax.grad(self.loss)(params, batch)

        start = jax.tree.map(jnp.zeros_like, self.params)
        return Program(step, start, self.params, self.batch)

    def forwards(self, count: int) -> Program:
        """Separate forward passes; each waits for the last one's loss, so that none is shared."""

        def step(total: Any, params: PyTree, batch: Any) -> Any:
            def one(total: Any, _: None) -> Any:
                images, labels = batch
                return total + self.loss(params, (images + 1e-30 * total, labels)), None

            return jax.lax.scan(one, total, length=count)[0]

        return Program(step, jnp.zeros(()), self.params, self.batch)


def update(params: PyTree, grads: PyTree, make: Make) -> Program:
    """Steps along a gradient that is given: update and apply."""
    optimizer = optax.with_extra_args_support(make(params))
    return Program(partial(_moved, optimizer), _start(optimizer, params), grads)


def _start(optimizer: optax.GradientTransformation, params: PyTree) -> Any:
    return jax.tree.map(jnp.array, params), optimizer.init(params)


def _moved(
    optimizer: optax.GradientTransformationExtraArgs, carry: Any, grads: PyTree, **extra: Any
) -> Any:
    params, state = carry
    updates, state = optimizer.update(grads, state, params, **extra)
    return optax.apply_updates(params, updates), state


def rbd(**options: Any) -> Make:
    return partial(subspace.rbd, learning_rate=RATE, **options)


def sgd(params: PyTree) -> optax.GradientTransformation:
    return subspace.sgd(params, RATE)


def nes(dim: int) -> Make:
    return partial(subspace.nes, learning_rate=RATE, dim=dim)


def p_bfgs(params: PyTree) -> optax.GradientTransformation:
    """In a random walk's principal directions."""
    walk = np.random.default_rng(0).standard_normal(
        (DIRECTIONS + 1, models.parameter_count(params)), np.float32
    )
    walk *= 1e-3
    return subspace.p_bfgs(subspace.TrajectorySubspace.fit(walk, DIRECTIONS, params))


def trials(program: Program) -> str:
    """How often a step of `p_bfgs` looked at the loss."""
    counts = search_counts(program.carry[1])
    return "" if counts is None else f"{counts.trials / counts.searches:.1f} trials a step"


def of_default(dim: int) -> dict[str, Make]:
    """RBD with the default basis: plain, with error feedback, and the strong preset."""
    return {
        f"rbd, {DEFAULT}": rbd(dim=dim),
        "error feedback": rbd(dim=dim, error_feedback=True),
        "strong": rbd(dim=dim, **METHODS["rbd"].presets["strong"]),
    }


def in_bases(dim: int, rows: bool) -> dict[str, Make]:
    """RBD with each basis of independent rows, or with each of the others."""
    chosen = [
        name for name, (basis, _) in BASES.items() if rows == isinstance(basis, AbstractRowBasis)
    ]
    return {f"rbd, {name}": rbd(dim=dim, basis=name) for name in chosen}
