"""The rivals of `benchmarks/compressors`, each held to an identity of its paper."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compressors import (
    Full,
    Int8,
    PowerSGD,
    RandomK,
    SignSGD,
    TopK,
    all_gather,
    all_reduce,
    methods,
)
from compressors.base import flat, one
from compressors.local import LocalSteps, diloco, sparseloco
from compressors.plain import rounded, scaled_sign
from compressors.sparse import largest

from subspace.optim.workers import AxisWorkers

PARAMS = {"w": jnp.ones((6, 4)), "k": jnp.ones((2, 3, 5)), "b": jnp.ones(5)}
D, K = 24 + 30 + 5, 3


def grads(seed, workers=K):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=(workers, *x.shape)), jnp.float32), PARAMS
    )


def mean(tree):
    return np.asarray(flat(tree)).mean(axis=0)


def agreed(tree):
    return np.asarray(flat(jax.tree.map(lambda x: x[None], tree)))[0]


FEEDBACK = {
    "top-k": TopK(7),
    "random-k": RandomK(7),
    "signs": SignSGD(),
    "powersgd": PowerSGD(1),
}


@pytest.mark.parametrize("name", FEEDBACK)
def test_what_is_missed_is_kept_for_later(name):
    compressor, total = FEEDBACK[name], np.zeros(D)
    state, step = compressor.init(PARAMS, K), jax.jit(compressor.__call__)
    for seed in range(5):
        out, state = step(grads(seed), state)
        total += agreed(out)
    error = state[1] if name in ("random-k", "powersgd") else state
    error = np.asarray(error if name in ("top-k", "random-k") else flat(error)).mean(axis=0)
    np.testing.assert_allclose(total + error, sum(mean(grads(s)) for s in range(5)), atol=1e-5)


def test_powersgd_of_full_rank_is_the_mean():
    compressor = PowerSGD(6)
    out, _ = compressor(grads(0), compressor.init(PARAMS, K))
    np.testing.assert_allclose(agreed(out), mean(grads(0)), atol=1e-5)


def test_powersgd_is_linear_in_the_workers():
    several, alone = PowerSGD(2), PowerSGD(2)
    here, there = several.init(PARAMS, K), alone.init(PARAMS, 1)
    for seed in range(3):
        average = jax.tree.map(lambda x: jnp.mean(x, axis=0, keepdims=True), grads(seed))
        out, here = several(grads(seed), here)
        expected, there = alone(average, there)
        np.testing.assert_allclose(agreed(out), agreed(expected), atol=1e-5)


def test_powersgds_warm_start_finds_the_best_rank():
    compressor, fixed = PowerSGD(2), jax.tree.map(lambda x: x[:1], grads(0))
    right = compressor.init(PARAMS, 1)
    for _ in range(60):
        out, right = compressor(fixed, right._replace(error=jax.tree.map(jnp.zeros_like, fixed)))
    left, values, rows = np.linalg.svd(np.asarray(fixed["w"][0]))
    best = left[:, :2] * values[:2] @ rows[:2]
    np.testing.assert_allclose(out["w"], best, atol=1e-3)


def test_the_largest_are_the_nearest_so_few_numbers_can_be():
    x = flat(grads(0))[0]
    kept = np.asarray(largest(x, 7))
    assert np.count_nonzero(kept) == 7
    missed = float(jnp.sum((x - kept) ** 2) / jnp.sum(x**2))
    assert missed <= 1 - 7 / D


def test_random_places_are_all_workers_alike():
    out, (_, error) = RandomK(7)(grads(0), RandomK(7).init(PARAMS, K))
    places = np.flatnonzero(agreed(out))
    assert len(places) == 7
    assert not np.asarray(error)[:, places].any()


def test_signs_contract_as_the_paper_says():
    x = flat(grads(0))[0]
    n = x.size
    left = jnp.sum((x - scaled_sign(x)) ** 2)
    phi = jnp.sum(jnp.abs(x)) ** 2 / (n * jnp.sum(x**2))
    np.testing.assert_allclose(left, (1 - phi) * jnp.sum(x**2), rtol=1e-5)


def test_rounding_is_right_in_the_mean_and_never_far():
    x = flat(grads(0))[0]
    draws = jax.vmap(rounded, (0, None))(jax.random.split(jax.random.key(0), 2000), x)
    step = float(jnp.max(jnp.abs(x))) / 127
    assert float(jnp.max(jnp.abs(draws - x[None]))) <= step * 1.001
    np.testing.assert_allclose(draws.mean(axis=0), x, atol=5 * step / np.sqrt(2000))
    out, _ = Int8()(grads(0), Int8().init(PARAMS, K))
    np.testing.assert_allclose(agreed(out), mean(grads(0)), atol=4 / 127)


def gradient(params, batch):
    return jax.tree.map(lambda x: jnp.sin(x) + jnp.mean(batch), params)


def batches(steps):
    return jnp.asarray(np.random.default_rng(0).normal(size=(K, steps, 4)), jnp.float32)


def test_one_local_step_and_nothing_outside_is_sgd():
    method = LocalSteps(optax.sgd(0.1), optax.sgd(1.0), Full())
    state = method.round(gradient, method.init(PARAMS, K), batches(1))
    each = jax.vmap(lambda batch: gradient(PARAMS, batch))(batches(1)[:, 0])
    expected = jax.tree.map(lambda p, g: p - 0.1 * jnp.mean(g, axis=0), PARAMS, each)
    np.testing.assert_allclose(agreed(state.params), agreed(expected), rtol=1e-5)


def test_local_steps_are_averages_of_workers_who_went_alone():
    method = LocalSteps(optax.sgd(0.1), optax.sgd(1.0), Full())
    state = method.round(gradient, method.init(PARAMS, K), batches(4))
    ends = []
    for worker in range(K):
        params = PARAMS
        for step in range(4):
            change = gradient(params, batches(4)[worker, step])
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, change)
        ends.append(agreed(params))
    np.testing.assert_allclose(agreed(state.params), np.mean(ends, axis=0), rtol=1e-5)


def test_sparseloco_that_sends_all_is_local_steps():
    plain, sparse = (
        LocalSteps(optax.sgd(0.1), optax.sgd(1.0), Full()),
        sparseloco(optax.sgd(0.1), D),
    )
    one_of, other = (m.round(gradient, m.init(PARAMS, K), batches(2)) for m in (plain, sparse))
    np.testing.assert_allclose(agreed(one_of.params), agreed(other.params), rtol=1e-5)


def test_dilocos_first_round_is_nesterovs():
    method = diloco(optax.sgd(0.1))
    start = method.init(PARAMS, K)
    plain = LocalSteps(optax.sgd(0.1), optax.sgd(1.0), Full())
    went = agreed(PARAMS) - agreed(
        plain.round(gradient, start._replace(outer=plain.outer.init(PARAMS)), batches(3)).params
    )
    moved = agreed(PARAMS) - agreed(method.round(gradient, start, batches(3)).params)
    np.testing.assert_allclose(moved, 0.7 * 1.9 * went, rtol=1e-4)


def test_bytes_are_what_the_collectives_move():
    assert all_reduce(100, 1) == all_gather(100, 1) == (0, 0)
    assert all_reduce(100, 4).sent == 150
    assert all_gather(100, 4).sent == 300
    assert Full().cost(PARAMS, 4).sent == 1.5 * 4 * D
    assert PowerSGD(2).cost(PARAMS, 4).sent == 1.5 * 4 * (2 * (6 + 4) + 2 * (6 + 5) + 5)
    assert TopK(7).cost(PARAMS, 4).sent == 3 * 8 * 7
    assert diloco(optax.sgd(0.1)).cost(PARAMS, 4, 10).sent == Full().cost(PARAMS, 4).sent / 10
    assert one(grads(0))["w"].shape == (6, 4)


@pytest.mark.parametrize(
    ("wire", "simulated"),
    [
        (lambda workers: methods.power_sgd(workers, 2), PowerSGD(2)),
        (lambda workers: methods.top_k(workers, 7), TopK(7)),
    ],
)
def test_between_workers_they_come_to_the_same(wire, simulated):
    """What a run tells through collectives is what all at once on one device say."""
    optimizer = wire(AxisWorkers(("data",)))

    def walk(*each):
        state, found = optimizer.init(PARAMS), []
        for mine in each:
            step, state = optimizer.update(mine, state)
            found.append(step)
        return found

    each = [grads(seed) for seed in range(3)]
    walked = jax.jit(jax.vmap(walk, axis_name="data"))(*each)
    state = simulated.init(PARAMS, K)
    for mine, found in zip(each, walked, strict=True):
        expected, state = simulated(mine, state)
        for k in range(K):
            ours = agreed(jax.tree.map(lambda x, k=k: x[k], found))
            np.testing.assert_allclose(ours, agreed(expected), rtol=1e-4, atol=1e-5)
