"""The library's optimizers go where Optax's own go: ensembles, wrappers, other frameworks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import START, close, filled, loss

import subspace
from subspace import rbd


def steps_of(optimizer, params, count=3):
    state = optimizer.init(params)
    for _ in range(count):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_an_ensemble_over_seeds_is_its_runs_one_by_one():
    def run(seed):
        return steps_of(rbd(START, 0.5, dim=5, seed=seed, error_feedback=True, recent=1), START)

    together = jax.vmap(run)(jnp.arange(3))
    for seed in range(3):
        close(jax.tree.map(lambda leaf, seed=seed: leaf[seed], together), run(seed))


def test_a_seed_may_be_an_array():
    of_array, of_int = (rbd(START, 0.5, dim=5, seed=seed) for seed in (jnp.array(5), 5))
    close(steps_of(of_array, START), steps_of(of_int, START))


def test_a_learning_rate_can_be_injected():
    inject = optax.inject_hyperparams(lambda learning_rate: rbd(START, learning_rate, dim=5))
    optimizer = inject(learning_rate=0.5)
    state: Any = optimizer.init(START)
    once, _ = jax.jit(optimizer.update)(filled(3), state, START)
    state.hyperparams["learning_rate"] = jnp.asarray(1.0)
    twice, _ = jax.jit(optimizer.update)(filled(3), state, START)
    close(twice, jax.tree.map(lambda leaf: 2 * leaf, once))


MAKERS = {
    "rbd": lambda: rbd(START, 0.5, dim=5),
    "strong": lambda: rbd(START, 0.5, dim=5, error_feedback=True, recent=2),
    "fpd": lambda: subspace.fpd(START, 0.5, dim=5, compartments="leaf"),
    "law": lambda: subspace.rbd_in_law(START, 0.5, dim=5),
}


@pytest.mark.parametrize("name", MAKERS)
def test_masked_parameters_stay_and_all_directions_are_of_the_others(name):
    mask = {"layer": {"w": True, "b": False}, "out": True}
    optimizer = optax.chain(
        optax.masked(MAKERS[name](), mask),
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda here: not here, mask)),
    )
    after: Any = steps_of(optimizer, START)
    assert loss(after) < loss(START)
    np.testing.assert_array_equal(after["layer"]["b"], START["layer"]["b"])


@pytest.mark.parametrize("name", MAKERS)
def test_part_of_the_parameters_by_another_optimizer(name):
    labels = {"layer": {"w": "here", "b": "there"}, "out": "here"}
    both: Any = {"here": MAKERS[name](), "there": optax.sgd(0.1)}
    after = steps_of(optax.multi_transform(both, labels), START)
    assert loss(after) < loss(START)


def test_flattened_parameters():
    assert loss(steps_of(optax.flatten(rbd(START, 0.5, dim=5)), START)) < loss(START)


def test_a_tree_seen_first_while_tracing_leaks_nothing():
    optimizer = optax.flatten(rbd(START, 0.5, dim=5))
    state = jax.jit(optimizer.init)(START)
    jax.jit(optimizer.update)(filled(1), state, START)
    optimizer.update(filled(1), optimizer.init(START), START)


def test_another_tree_than_a_subspace_has_is_named():
    optimizer = subspace.in_subspace(subspace.RandomSubspace(START, dim=5), optax.sgd(0.1))
    with pytest.raises(subspace.InvalidInput, match="another tree"):
        optimizer.update({"w": jnp.ones(3)}, optimizer.init(START))


def test_flax_nnx_trains_with_it():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    optimizer = nnx.Optimizer(model, rbd(params, 0.1, dim=4), wrt=nnx.Param)
    x = jnp.ones((5, 3))

    def loss_of(model):
        return jnp.mean((model(x) - 1) ** 2)

    before = loss_of(model)
    for _ in range(20):
        optimizer.update(model, nnx.grad(loss_of)(model))
    assert loss_of(model) < before
