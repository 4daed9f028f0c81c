"""The one training step and the one evaluation step, both under ``shard_map``."""

from __future__ import annotations

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
from subspace.augment import augment, prepare
from subspace.transform import Residual

AXIS = "data"


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


def data_mesh() -> Mesh:
    """All devices on the axis ``"data"``."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


class Task(NamedTuple):
    """What a step trains: the model without its parameters, the optimizer, and the batches.

    ``steps`` are those of an epoch; epochs are counted from ``first_step``. Augmentation is a
    function of (seed, stream, step, place in the batch).
    """

    static: PyTree
    optimizer: optax.GradientTransformationExtraArgs
    mesh: Mesh
    batch_size: int
    steps: int
    first_step: int
    augment: bool
    seed: int
    stream: int


def make_train_step(task: Task) -> Callable[..., TrainState]:
    """A jitted ``step(state, images, labels, order) -> state``; ``state`` is donated.

    Shapes: images uint8 (N, H, W, C) and labels int32 (N,) of the whole training split, order
    int32 (steps × batch,), the epoch's order. The batch is divided among the devices; the result
    doesn't depend on how many there are.
    """
    local = task.batch_size // task.mesh.size
    root = jax.random.key(task.seed, impl="threefry2x32")
    if task.stream:
        root = jax.random.fold_in(root, 2**31 + task.stream)  # no step's number

    def step(state: TrainState, images, labels, order):
        place = lax.axis_index(AXIS) * local + jnp.arange(local)
        step_in_epoch = (state.step - task.first_step) % task.steps
        chosen = order[step_in_epoch * task.batch_size + place]
        batch = _inputs(task, images[chosen], root, state.step, place), labels[chosen]

        def loss_fn(params, examples=batch):
            return _loss(eqx.combine(params, task.static), state.model_state, *examples)

        def value_fn(params, *part):
            return loss_fn(params, _share(batch, *part[0]) if part else batch)[0]

        (loss, (correct, model_state)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        updates, opt_state = task.optimizer.update(
            grads,
            state.opt_state,
            state.params,
            value=lax.pmean(loss, AXIS),
            value_fn=value_fn,
        )
        meters = Meters(
            state.meters.loss + lax.psum(loss * local, AXIS),
            state.meters.correct + lax.psum(correct, AXIS),
            state.meters.examples + task.batch_size,
        )
        params: Any = optax.apply_updates(state.params, updates)
        return TrainState(params, model_state, opt_state, state.step + 1, meters)

    def on_mesh(state: TrainState, images, labels, order):
        specs = placement(state)
        run = jax.shard_map(
            step,
            mesh=task.mesh,
            in_specs=(specs, P(), P(), P()),
            out_specs=specs,
            check_vma=False,  # see `_on_mesh`
        )
        return run(state, images, labels, order)

    return jax.jit(on_mesh, donate_argnums=0)


def placement(tree: PyTree) -> PyTree:
    """A `PartitionSpec` for each array: residuals are by worker, all else is everywhere."""

    def spec(node: Any) -> Any:
        return jax.tree.map(lambda _: P(AXIS) if isinstance(node, Residual) else P(), node)

    return jax.tree.map(spec, tree, is_leaf=lambda node: isinstance(node, Residual))


def for_workers(tree: PyTree, workers: int) -> PyTree:
    """Residuals for so many workers: those that there are, or each a copy of their mean."""

    def spread(leaf: Any) -> Any:
        if leaf.shape[0] == workers:
            return leaf
        mean = jnp.mean(jnp.asarray(leaf), axis=0, keepdims=True)
        return jnp.broadcast_to(mean, (workers, *leaf.shape[1:]))

    def change(node: Any) -> Any:
        return jax.tree.map(spread, node) if isinstance(node, Residual) else node

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, Residual))


def _inputs(
    task: Task, images: UInt8[Array, "b h w c"], root: Any, step: Array, place: Int[Array, " b"]
) -> Float[Array, "b h w c"]:
    if not task.augment:
        return prepare(images)
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
    return jax.jit(_on_mesh(evaluate, mesh, specs))


def make_statistics_step(static: PyTree, mesh: Mesh) -> Callable[..., PyTree]:
    """A jitted ``measure(params, model_state, images) -> model_state``.

    The new state holds the statistics of this batch, uint8 (B, H, W, C), alone.
    """

    def measure(params, model_state, images):
        model = models.with_momentum(eqx.combine(params, static), 0.0)
        return models.apply(model, model_state, prepare(images))[1]

    return jax.jit(_on_mesh(measure, mesh, (P(), P(), P(AXIS))))


def _on_mesh(f: Callable[..., Any], mesh: Mesh, in_specs: Any) -> Callable[..., Any]:
    """``f`` once a device, with replicated results.

    ``check_vma=False``: with the check, JAX 0.10 to 0.12 can't run batch norm's mean over a
    ``vmap`` axis, and differentiating replicated parameters would silently sum all D gradients
    over the workers. The parity tests hold what the check would.
    """
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)
