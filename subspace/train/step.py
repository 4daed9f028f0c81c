"""The one training step and the one evaluation step, both under ``shard_map``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree, UInt8

from subspace import models
from subspace.data.augment import augment, prepare
from subspace.natural.capture import capture
from subspace.train.mesh import AXIS, INNER, placement


class Meters(NamedTuple):
    """Sums since the start of an epoch."""

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    examples: Int[Array, ""]


class TrainState(NamedTuple):
    """All that changes from step to step."""

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    meters: Meters


def no_meters() -> Meters:
    return Meters(jnp.float32(0), jnp.int32(0), jnp.int32(0))


class Task(NamedTuple):
    """What a step trains: the model without its parameters, the optimizer, and the batches.

    ``steps`` are those of an epoch; epochs are counted from ``first_step``. Augmentation is a
    function of (seed, stream, step, place in the batch). ``workers`` each take a share of the
    batch, or with ``same_batch`` all of it.
    """

    static: PyTree
    optimizer: optax.GradientTransformationExtraArgs
    mesh: Mesh
    workers: int
    same_batch: bool
    batch_size: int
    steps: int
    first_step: int
    augment: bool
    seed: int
    stream: int

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the workers."""
        return worker_axes(self.mesh, self.workers)


def worker_axes(mesh: Mesh, workers: int) -> tuple[str, ...]:
    """The mesh axis, and where a device has several workers that of a `vmap` over them."""
    return (AXIS,) if workers == mesh.size else (AXIS, INNER)


def make_train_step(task: Task) -> Callable[..., TrainState]:
    """A jitted ``step(state, images, labels, order, due=None) -> state``; ``state`` is donated.

    Shapes: images uint8 (N, H, W, C) and labels int32 (N,) of the whole training split, order
    int32 (steps × batch,), the epoch's order. The batch is divided among the workers; how they are
    spread over devices and processes doesn't change the result. ``due``, a Python bool, is for
    `subspace.natural.scale_by_curvature`; each of its values is a program of its own.
    """
    axes, workers = task.axes, task.workers

    def step(due: bool | None, state: TrainState, *inputs):
        batch = _batch(task, state.step, *inputs)

        def loss_fn(params, examples=batch):
            model = models.with_axis(eqx.combine(params, task.static), ("batch", *axes))
            return _loss(model, state.model_state, *examples)

        def value_fn(params, *part):
            return loss_fn(params, _share(batch, *part[0]) if part else batch)[0]

        def rows_fn(params):
            model = models.with_axis(eqx.combine(params, task.static), ("batch", *axes))
            return capture(model, functools.partial(_loss_of_one, state.model_state), batch)

        (loss, (correct, model_state)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        loss = lax.pmean(loss, axes)
        known = {"value": loss, "value_fn": value_fn, "rows_fn": rows_fn, "due": due}
        updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params, **known)
        meters = Meters(
            state.meters.loss + loss * task.batch_size,
            state.meters.correct + lax.psum(correct, axes) // (workers if task.same_batch else 1),
            state.meters.examples + task.batch_size,
        )
        params: Any = optax.apply_updates(state.params, updates)
        return TrainState(params, model_state, opt_state, state.step + 1, meters)

    def on_mesh(state: TrainState, *inputs, due: bool | None = None):
        specs = placement(state)
        local = _by_worker(task, functools.partial(step, due))
        return _on_mesh(local, task.mesh, (specs, P(), P(), P()), specs)(state, *inputs)

    return jax.jit(on_mesh, donate_argnums=0, static_argnames="due")


def make_gradient(task: Task) -> Callable[..., PyTree]:
    """A jitted ``gradient(state, images, labels, order)``, that of the batch of a step to come.

    Arguments as `make_train_step`'s step has them; the mean over all workers, D numbers.
    """

    def gradient(params, model_state, step, *inputs):
        batch = _batch(task, step, *inputs)

        def loss_fn(params):
            model = models.with_axis(eqx.combine(params, task.static), ("batch", *task.axes))
            return _loss(model, model_state, *batch)[0]

        return lax.pmean(jax.grad(loss_fn)(params), task.axes)

    run = _on_mesh(_by_worker(task, gradient), task.mesh, (P(),) * 6, P())
    return jax.jit(lambda state, *inputs: run(state.params, state.model_state, state.step, *inputs))


def _by_worker(task: Task, f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` once a worker of a device."""
    local = task.workers // task.mesh.size
    if local == 1:
        return f
    return jax.vmap(f, in_axes=None, out_axes=None, axis_name=INNER, axis_size=local)


def _batch(task: Task, step: Array, images, labels, order) -> tuple[Array, Array]:
    """A worker's share of a step's batch, as the model takes it."""
    share = task.batch_size if task.same_batch else task.batch_size // task.workers
    start = 0 if task.same_batch else lax.axis_index(task.axes) * share
    place = start + jnp.arange(share)
    step_in_epoch = (step - task.first_step) % task.steps
    chosen = order[step_in_epoch * task.batch_size + place]
    return _inputs(task, images[chosen], step, place), labels[chosen]


def _inputs(
    task: Task, images: UInt8[Array, "b h w c"], step: Array, place: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
    if not task.augment:
        return prepare(images)
    root = jax.random.key(task.seed, impl="threefry2x32")
    if task.stream:
        root = jax.random.fold_in(root, 2**31 + task.stream)  # no step's number
    key = jax.random.fold_in(root, step)
    return augment(images, jax.vmap(lambda i: jax.random.fold_in(key, i))(place))


def _share(batch: Any, index: Int[Array, ""], count: int) -> Any:
    """The index-th of ``count`` equal shares of a batch; what is left over belongs to none."""
    size = len(batch[1]) // count
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, index * size, size), batch)


def _loss(
    model: PyTree, state: PyTree, images: Float[Array, "b h w c"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], tuple[Int[Array, ""], PyTree]]:
    logits, state = models.apply(model, state, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = jnp.sum(jnp.argmax(logits, axis=1) == labels)
    return jnp.mean(losses), (correct.astype(jnp.int32), state)


def _loss_of_one(state: PyTree, model: PyTree, example: Any) -> Float[Array, ""]:
    """That of an image and its label, within a `vmap` over the batch."""
    image, label = example
    logits = model(image, state)[0] if jax.tree.leaves(state) else model(image)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def make_eval_step(static: PyTree, mesh: Mesh) -> Callable[..., Meters]:
    """A jitted ``evaluate(params, model_state, images, labels, valid) -> Meters``.

    Shapes: images uint8 (B, H, W, C), labels int32 (B,), valid bool (B,), False for padding; B is
    a multiple of the number of devices. Batch norm uses its running statistics.
    """

    def evaluate(params, model_state, images, labels, valid):
        model = eqx.nn.inference_mode(eqx.combine(params, static))
        logits, _ = models.apply(model, model_state, prepare(images))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = (jnp.argmax(logits, axis=1) == labels) & valid
        sums = Meters(
            jnp.sum(jnp.where(valid, losses, jnp.float32(0))),
            jnp.sum(right).astype(jnp.int32),
            jnp.sum(valid).astype(jnp.int32),
        )
        return lax.psum(sums, AXIS)

    specs = (P(), P(), P(AXIS), P(AXIS), P(AXIS))
    return jax.jit(_on_mesh(evaluate, mesh, specs, P()))


def make_statistics_step(static: PyTree, mesh: Mesh) -> Callable[..., PyTree]:
    """A jitted ``measure(params, model_state, images) -> model_state``.

    The new state holds the statistics of this batch, uint8 (B, H, W, C), alone.
    """

    def measure(params, model_state, images):
        model = models.with_axis(eqx.combine(params, static), ("batch", AXIS))
        model = models.with_momentum(model, 0.0)
        return models.apply(model, model_state, prepare(images))[1]

    return jax.jit(_on_mesh(measure, mesh, (P(), P(), P(AXIS)), P()))


def _on_mesh(
    f: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """``f`` once a device.

    ``check_vma=False``: with the check, JAX 0.10 to 0.12 can't run batch norm's mean over a
    ``vmap`` axis, and differentiating replicated parameters would silently sum all D gradients
    over the workers. The parity tests hold what the check would.
    """
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
