"""Workers on a named axis take the step of one worker with all their data: no devices needed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subspace import Alone, Mean, RandomSubspace, fpd, in_subspace, rbd, sgd

SHARDS, BATCH = 4, 24
DATA = np.random.default_rng(0).normal(size=(BATCH, 6)).astype(np.float32)
ANSWERS = np.sin(DATA.sum(1, keepdims=True) + np.arange(3, dtype=np.float32)[None])
PARAMS = {"w": jnp.asarray(DATA[:6, :3] / 4), "b": jnp.zeros(3)}


def loss(params, x, y):
    return jnp.mean((jnp.tanh(x @ params["w"] + params["b"][None]) - y) ** 2)


def build(name, exchange):
    if name == "line search":
        space = RandomSubspace(PARAMS, dim=6, redraw_every=None)
        search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=10)
        return in_subspace(space, optax.chain(optax.sgd(8.0), search), exchange=exchange)
    if name == "sgd":
        return sgd(PARAMS, 0.5, momentum=0.9, exchange=exchange)
    options = {"dim": 5, "momentum": 0.9, "exchange": exchange}
    if name == "rbd":
        return rbd(PARAMS, 0.5, **options)
    return fpd(PARAMS, 0.5, basis="normal", compartments="even:2", **options)


def alone(optimizer):
    def step(params, state, x, y):
        value_fn = lambda params: loss(params, x, y)  # noqa: E731
        value, grads = jax.value_and_grad(value_fn)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=value_fn)
        return optax.apply_updates(params, updates), state

    return jax.jit(step)


def sharded(optimizer):
    def step(params, state, x, y):
        value_fn = lambda params: loss(params, x, y)  # noqa: E731
        value, grads = jax.value_and_grad(value_fn)(params)
        value = jax.lax.pmean(value, "data")
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=value_fn)
        return optax.apply_updates(params, updates), state

    return jax.jit(jax.vmap(step, in_axes=(None, None, 0, 0), axis_name="data"))


@pytest.mark.parametrize("name", ["sgd", "rbd", "fpd normal", "line search"])
def test_four_shards_take_the_steps_of_one_big_batch(name):
    with jax.numpy_dtype_promotion("standard"):  # Optax's line search mixes dtypes
        single = build(name, Alone())
        one, many = alone(single), sharded(build(name, Mean("data")))
        params = shards = PARAMS
        state = shard_state = single.init(PARAMS)
        x, y = (array.reshape(SHARDS, BATCH // SHARDS, -1) for array in (DATA, ANSWERS))
        for _ in range(4):
            params, state = one(params, state, DATA, ANSWERS)
            shards, shard_state = many(shards, shard_state, x, y)
            assert all(bool(jnp.all(leaf == leaf[:1])) for leaf in jax.tree.leaves(shards))
            shards, shard_state = jax.tree.map(lambda leaf: leaf[0], (shards, shard_state))
            for name, leaf in params.items():
                np.testing.assert_allclose(leaf, shards[name], atol=1e-5)
    assert loss(params, DATA, ANSWERS) < loss(PARAMS, DATA, ANSWERS)
