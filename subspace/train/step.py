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
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree

from subspace import models
from subspace.natural.capture import capture
from subspace.optim.local import local_params
from subspace.optim.workers import PerWorker, mine_of, own
from subspace.tasks import AbstractTask
from subspace.train.mesh import AXIS, INNER, map_per_worker, placement


class Meters(NamedTuple):
    """Sums of the task's metrics, by name, since the start of an epoch; of one worker, or all."""

    sums: dict[str, Float[Array, "*workers"]]
    examples: Int[Array, "*workers"]


class TrainState(NamedTuple):
    """All that changes from step to step.

    Attributes:
        meters: `Meters` of each worker, which are added up where they are read, so that a step has
            nothing to exchange for them.
        own_state: with local steps, the model's state as each worker has it.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    meters: PerWorker
    own_state: PerWorker | None = None


def no_meters(task: AbstractTask) -> PerWorker:
    """Before the first step, of one worker."""
    sums = {metric.name: jnp.zeros(1, jnp.float32) for metric in task.metrics}
    return PerWorker(Meters(sums, jnp.zeros(1, jnp.int32)))


class StepPlan(NamedTuple):
    """What a step trains: the task, the model without its parameters, the optimizer, the batches.

    ``steps`` are those of an epoch; epochs are counted from ``first_step``. Augmentation is a
    function of (seed, epochs_before, step, place in the batch). ``workers`` each take a share of
    the batch, or with ``same_batch`` all of it. ``needs_rows``: see `subspace.methods.Method`.
    Gradients are measured of so many parts to ``accumulate``, in ``dtype``.
    """

    task: AbstractTask
    static: PyTree
    optimizer: optax.GradientTransformationExtraArgs
    mesh: Mesh | AbstractMesh
    workers: int
    same_batch: bool
    batch_size: int
    steps: int
    first_step: int
    augment: bool
    seed: int
    epochs_before: int
    needs_rows: bool
    accumulate: int = 1
    dtype: str = "float32"

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the workers."""
        return worker_axes(self.mesh, self.workers)


def worker_axes(mesh: Mesh | AbstractMesh, workers: int) -> tuple[str, ...]:
    """The mesh axis, and where a device has several workers that of a `vmap` over them."""
    return (AXIS,) if workers == mesh.size else (AXIS, INNER)


def make_train_step(plan: StepPlan) -> Callable[..., TrainState]:
    """A jitted ``step(state, inputs, targets, order, due=None) -> state``; ``state`` is donated.

    Shapes: inputs (N, ...) and targets (N, ...) of the whole training split, order int32
    (steps × batch,), the epoch's order. The batch is divided among the workers; how they are
    spread over devices and processes doesn't change the result. ``due``, a Python bool, is what
    `subspace.methods.Method.due` says; each of its values is a program of its own.
    """

    def step(due: bool | None, state: TrainState, *data):
        batch = _batch(plan, state.step, *data)
        alone = state.own_state is not None  # workers step by themselves
        axes = () if alone else plan.axes
        here, known_state = local_params(state.params, state.opt_state), state.model_state
        if state.own_state is not None:
            known_state = mine_of(state.own_state)

        def loss_fn(params, examples=batch, model_state=known_state):
            params, examples = _in_dtype(plan, params), _in_dtype(plan, examples)
            model = models.with_axis(eqx.combine(params, plan.static), ("batch", *axes))
            return _loss(plan.task, model, model_state, *examples)

        def value_fn(params, *part):
            return loss_fn(params, _share(batch, *part[0]) if part else batch)[0]

        def rows_fn(params):
            model = models.with_axis(eqx.combine(params, plan.static), ("batch", *axes))
            of_one = functools.partial(_loss_of_one, plan.task, state.model_state)
            return capture(model, of_one, batch)

        loss, figures, model_state, grads = _measured(plan, loss_fn, here, batch, known_state)
        meters = _added(plan, state.meters, loss, figures)
        loss = lax.pmean(loss, plan.axes)
        known = {"value": loss, "value_fn": value_fn, "due": due}
        if plan.needs_rows:
            known["rows_fn"] = rows_fn
        updates, opt_state = plan.optimizer.update(grads, state.opt_state, state.params, **known)
        params: Any = optax.apply_updates(state.params, updates)
        own_state = None
        if alone:
            agreed = lax.pmean(model_state, plan.axes) if due else state.model_state
            own_state, model_state = own(agreed if due else model_state), agreed
        return TrainState(params, model_state, opt_state, state.step + 1, meters, own_state)

    def on_mesh(state: TrainState, *data, due: bool | None = None):
        specs = placement(state)
        local = _by_worker(plan, functools.partial(step, due), returns_state=True)
        return _on_mesh(local, plan.mesh, (specs, P(), P(), P()), specs)(state, *data)

    return jax.jit(on_mesh, donate_argnums=0, static_argnames="due")


def make_gradient(plan: StepPlan) -> Callable[..., PyTree]:
    """A jitted ``gradient(state, inputs, targets, order)``, that of the batch of a step to come.

    Arguments as `make_train_step`'s step has them; the mean over all workers, D numbers.
    """

    def gradient(params, model_state, step, *data):
        batch = _batch(plan, step, *data)

        def loss_fn(params):
            model = models.with_axis(eqx.combine(params, plan.static), ("batch", *plan.axes))
            return _loss(plan.task, model, model_state, *batch)[0]

        return lax.pmean(jax.grad(loss_fn)(params), plan.axes)

    run = _on_mesh(_by_worker(plan, gradient), plan.mesh, (P(),) * 6, P())
    return jax.jit(lambda state, *data: run(state.params, state.model_state, state.step, *data))


def _by_worker(
    plan: StepPlan, f: Callable[..., Any], returns_state: bool = False
) -> Callable[..., Any]:
    """``f`` once a worker of a device; what it returns, unless a state, is the same for all."""
    local = plan.workers // plan.mesh.size
    if local == 1:
        return f

    def one(*args: Any) -> Any:
        found = f(*map_per_worker(lambda x: x[None], args, others=lambda x: x))
        return map_per_worker(lambda x: x[0], found, others=lambda x: x)

    def of_all(*args: Any) -> Any:
        divided = map_per_worker(lambda _: 0, args, others=lambda _: None)
        out = divided[0] if returns_state else None
        return jax.vmap(one, divided, out, axis_name=INNER, axis_size=local)(*args)

    return of_all


def _batch(plan: StepPlan, step: Array, inputs, targets, order) -> tuple[Array, Array]:
    """A worker's share of a step's batch, as the model takes it."""
    share = plan.batch_size if plan.same_batch else plan.batch_size // plan.workers
    start = 0 if plan.same_batch else lax.axis_index(plan.axes) * share
    place = start + jnp.arange(share)
    step_in_epoch = (step - plan.first_step) % plan.steps
    chosen = order[step_in_epoch * plan.batch_size + place]
    return _prepared(plan, inputs[chosen], step, place), targets[chosen]


def _prepared(plan: StepPlan, inputs: Array, step: Array, place: Int[Array, " b"]) -> Array:
    if not plan.augment:
        return plan.task.prepare(inputs)
    root = jax.random.key(plan.seed, impl="threefry2x32")
    if plan.epochs_before:
        root = jax.random.fold_in(root, 2**31 + plan.epochs_before)  # no step's number
    key = jax.random.fold_in(root, step)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(place)
    return plan.task.augment(inputs, keys)


def _share(batch: Any, index: Int[Array, ""], count: int) -> Any:
    """The index-th of ``count`` equal shares of a batch; what is left over belongs to none."""
    size = len(batch[1]) // count
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, index * size, size), batch)


def _measured(
    plan: StepPlan, loss_fn: Callable[..., Any], params: PyTree, batch: Any, model_state: PyTree
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]], PyTree, PyTree]:
    """The mean loss of a batch, sums of the other metrics, the model's new state, the gradient."""
    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    total: Any = None
    for i in range(plan.accumulate):  # a loop that is unrolled: convolutions are slow in others
        part = _part(batch, i, plan.accumulate)
        if total is not None:  # or all would be measured at once
            params, total = lax.optimization_barrier((params, total))
        (loss, (figures, model_state)), grads = gradient(params, part, model_state)
        now = loss, figures, grads
        total = now if total is None else jax.tree.map(jnp.add, total, now)
    loss, figures, grads = total
    if plan.accumulate > 1:
        loss, grads = jax.tree.map(lambda x: x / plan.accumulate, (loss, grads))
    return loss, figures, model_state, grads


def _part(batch: Any, index: int, count: int) -> Any:
    """The index-th of ``count`` equal parts."""
    size = len(batch[1]) // count
    return batch if count == 1 else jax.tree.map(lambda x: x[index * size :][:size], batch)


def _in_dtype(plan: StepPlan, tree: PyTree) -> PyTree:
    """Floating-point arrays as the network computes with them."""
    if plan.dtype == "float32":
        return tree

    def lowered(x: Any) -> Any:
        return x.astype(plan.dtype) if eqx.is_inexact_array(x) else x

    return jax.tree.map(lowered, tree)


def _loss(
    task: AbstractTask, model: PyTree, state: PyTree, inputs: Array, targets: Array
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], PyTree]]:
    """The mean loss of a batch; the other metrics' sums, and the model's new state."""
    outputs, new = models.apply(model, state, inputs)
    state = jax.tree.map(lambda x, old: x.astype(old.dtype), new, state)
    if eqx.is_inexact_array(outputs):
        outputs = outputs.astype(jnp.float32)  # where gradients aren't: losses are
    figures = jax.vmap(task.score)(outputs, targets)
    loss = jnp.mean(figures.pop("loss"))
    return loss, ({name: jnp.sum(each) for name, each in figures.items()}, state)


def _added(
    plan: StepPlan, meters: PerWorker, loss: Float[Array, ""], figures: dict[str, Float[Array, ""]]
) -> PerWorker:
    """With a worker's own share of a batch, or where all see the same with all of it."""
    share = plan.batch_size if plan.same_batch else plan.batch_size // plan.workers
    sums: Meters = meters.each
    new = figures | {"loss": loss * share}
    added = {name: total + new[name].astype(total.dtype) for name, total in sums.sums.items()}
    return PerWorker(Meters(added, sums.examples + share))


def _loss_of_one(
    task: AbstractTask, state: PyTree, model: PyTree, example: Any
) -> Float[Array, ""]:
    """That of an input and its target, within a `vmap` over the batch."""
    x, target = example
    output = model(x, state)[0] if jax.tree.leaves(state) else model(x)
    return task.score(output, target)["loss"]


def make_eval_step(task: AbstractTask, static: PyTree, mesh: Mesh) -> Callable[..., Meters]:
    """A jitted ``evaluate(params, model_state, inputs, targets, valid) -> Meters``.

    Shapes: inputs and targets (B, ...), valid bool (B,), False for padding; B is a multiple of the
    number of devices. Batch norm uses its running statistics.
    """

    def evaluate(params, model_state, inputs, targets, valid):
        model = eqx.nn.inference_mode(eqx.combine(params, static))
        outputs, _ = models.apply(model, model_state, task.prepare(inputs))
        figures = jax.vmap(task.score)(outputs, targets)
        sums = {
            name: jnp.sum(jnp.where(valid, each, jnp.zeros_like(each)))
            for name, each in figures.items()
        }
        return lax.psum(Meters(sums, jnp.sum(valid).astype(jnp.int32)), AXIS)

    specs = (P(), P(), P(AXIS), P(AXIS), P(AXIS))
    return jax.jit(_on_mesh(evaluate, mesh, specs, P()))


def make_statistics_step(task: AbstractTask, static: PyTree, mesh: Mesh) -> Callable[..., PyTree]:
    """A jitted ``measure(params, model_state, inputs) -> model_state``.

    The new state holds the statistics of this batch, (B, ...), alone.
    """

    def measure(params, model_state, inputs):
        model = models.with_axis(eqx.combine(params, static), ("batch", AXIS))
        model = models.with_momentum(model, 0.0)
        return models.apply(model, model_state, task.prepare(inputs))[1]

    return jax.jit(_on_mesh(measure, mesh, (P(), P(), P(AXIS)), P()))


def _on_mesh(
    f: Callable[..., Any], mesh: Mesh | AbstractMesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """``f`` once a device.

    ``check_vma=False``: with the check, JAX 0.10 to 0.12 can't run batch norm's mean over a
    ``vmap`` axis, and differentiating replicated parameters would silently sum all D gradients
    over the workers. The parity tests hold what the check would.
    """
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
