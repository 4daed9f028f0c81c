"""Workers that go ways of their own between exchanges, and what they tell in few bits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compressors.local import diloco
from problems import START, filled, flat

from subspace import (
    Alone,
    InvalidInput,
    Mean,
    RandomSubspace,
    in_subspace,
    local_params,
    local_steps,
    methods,
)
from subspace.config.phase import Phase
from subspace.optim.in_subspace import subspace_state
from subspace.optim.rounded import Rounded, rounded, value

K, H, ROUNDS = 3, 4, 3
TARGETS = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(filled, range(1, K + 1)))
CURVATURE = jnp.linspace(0.2, 1.0, H)


def gradient(params, batch):
    """Of ½c‖params - target‖², with a target of each worker's own and a c of each step's."""
    curvature, target = batch
    return jax.tree.map(lambda p, t: curvature * (p - t), params, target)


def on_workers(optimizer, rounds=ROUNDS, gradient=gradient):
    """Parameters and states of every worker after some rounds, in a plain loop."""

    def walk(target):
        params, state = START, optimizer.init(START)
        for _ in range(rounds):
            for h in range(H):
                grads = gradient(local_params(params, state), (CURVATURE[h], target))
                updates, state = optimizer.update(grads, state, params, due=h == H - 1)
                params = optax.apply_updates(params, updates)
        return params, state

    return jax.jit(jax.vmap(walk, axis_name="data"))(TARGETS)


def mean_of_gradients():
    return optax.stateless(lambda updates, params: Mean().workers.mean(updates))


def outer(rate=1.0, momentum: Any = None):
    return optax.chain(mean_of_gradients(), optax.sgd(rate, momentum, nesterov=True))


def followed(exchange, momentum=None):
    space = RandomSubspace(START, dim=6, seed=3)
    follow = in_subspace(space, None, exchange=exchange, error_feedback=True)
    return optax.chain(follow, optax.sgd(1.0, momentum, nesterov=True))


def first(everywhere):
    for leaf in jax.tree.leaves(everywhere):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    return flat(jax.tree.map(lambda leaf: leaf[0], everywhere))


def test_of_one_worker_and_a_plain_exchange_they_are_the_steps():
    plain, params = optax.sgd(0.3, 0.9), START
    state, target = plain.init(START), jax.tree.map(lambda leaf: leaf[0], TARGETS)
    alone = local_steps(optax.sgd(0.3, 0.9), optax.sgd(1.0))
    mine, own = START, alone.init(START)
    for i in range(2 * H):
        updates, state = plain.update(gradient(params, (1.0, target)), state, params)
        params = optax.apply_updates(params, updates)
        grads = gradient(local_params(mine, own), (1.0, target))
        updates, own = alone.update(grads, own, mine, due=i % H == H - 1)
        mine: Any = optax.apply_updates(mine, updates)
    np.testing.assert_allclose(flat(mine), flat(params), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_with_nesterov_outside_they_are_diloco(momentum):
    """Against the benchmarks' rival, written from the paper by itself."""
    inner = optax.sgd(0.2, 0.5)
    rival = diloco(inner, rate=0.7, momentum=momentum or 0.0)
    state = rival.init(START, K)
    batches = jax.vmap(lambda t: jax.vmap(lambda c: (c, t))(CURVATURE))(TARGETS)
    for _ in range(ROUNDS):
        state = rival.round(gradient, state, batches)
    found, _ = on_workers(local_steps(inner, outer(0.7, momentum)))
    np.testing.assert_allclose(first(found), flat(state.params), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_in_coordinates_all_step_alike_and_what_is_missed_is_kept(kind):
    """The gradients don't depend on where a worker stands: then the mean way is known."""

    def constant(params, batch):
        return jax.tree.map(lambda t: batch[0] * t, batch[1])

    exchange = Mean() if kind == "float32" else Rounded(kind=kind)
    found, state = on_workers(local_steps(optax.sgd(0.1), followed(exchange)), gradient=constant)
    residual: Any = subspace_state(state.outer).residual  # pyright: ignore
    kept = flat(jax.tree.map(lambda e: jnp.mean(e, axis=(0, 1)), residual.each))
    mean = flat(jax.tree.map(lambda t: jnp.mean(t, axis=0), TARGETS))
    whole = 0.1 * ROUNDS * float(CURVATURE.sum()) * mean
    np.testing.assert_allclose(flat(START) - first(found) + kept, whole, rtol=1e-4, atol=1e-4)
    assert np.abs(kept).max() > 0.1  # six directions don't follow it all


def test_an_optimizer_without_them_stands_where_its_parameters_are():
    assert local_params(START, optax.adam(0.1).init(START)) is START


def test_a_round_ends_with_its_epoch():
    method = methods.RBD(local_steps=4)
    due = [method.due(step, steps=10) for step in range(20)]
    assert [i for i, one in enumerate(due) if one] == [3, 7, 9, 13, 17, 19]
    assert methods.RBD().due(3, steps=10) is None


def test_steps_of_its_own_have_the_rate_of_plain_ones():
    def rate(**given):
        return Phase.resolve(given, model="fc", dataset="digits").learning_rate

    strong = {"method": "rbd", "error_feedback": True}
    assert rate(**strong, local_steps=4) == rate(method="sgd")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"outer_rate": 0.5}, "outer_rate"),
        ({"outer_momentum": 0.5}, "outer_momentum"),
        ({"local_steps": 4, "exchange": "independent"}, "local_steps"),
        ({"local_steps": 0}, "local_steps"),
        ({"local_steps": 4, "outer_rate": 0}, "outer_rate"),
        ({"sent_as": "int4"}, "did you mean 'int8'"),
        ({"sent_as": "int8", "exchange": "split"}, "sent_as"),
    ],
)
def test_what_does_not_go_together_is_said(given, said):
    with pytest.raises(InvalidInput, match=said):
        methods.RBD(**given)


def test_a_kind_that_is_not_there_is_said():
    with pytest.raises(InvalidInput, match="bfloat16"):
        Rounded(kind="bfloat")


def told(values, steps, kind, axes=("data",)):
    """What workers agree on, and are credited with, in each of some steps: one program."""
    exchange = Rounded(axes, kind, seed=5)

    def one(z, step):
        return exchange({"a": z[:3], "b": z[3:]}, step)

    for axis in reversed(axes):
        one = jax.vmap(one, in_axes=(0, None), axis_name=axis)
    found = jax.jit(jax.vmap(one, in_axes=(None, 0)))(values, jnp.asarray(steps, jnp.int32))
    return [np.concatenate([part["a"], part["b"]], axis=-1) for part in found]


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_the_mean_of_what_workers_are_credited_with_is_what_they_agree_on(kind):
    values = jax.random.normal(jax.random.key(0), (4, 11))
    agreed, credited = (part[0] for part in told(values, [0], kind))
    np.testing.assert_array_equal(agreed, np.broadcast_to(agreed[:1], agreed.shape))
    np.testing.assert_allclose(credited.mean(axis=0), agreed[0], rtol=1e-5, atol=1e-6)
    step = 2.0**-7 if kind == "bfloat16" else 2 / 127
    assert np.abs(agreed[0] - values.mean(axis=0)).max() < 2 * step * np.abs(values).max()
    assert np.abs(agreed[0] - values.mean(axis=0)).max() > 0


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_rounding_is_right_on_average(kind):
    values = jax.random.normal(jax.random.key(1), (4, 11))
    agreed = told(values, range(400), kind)[0][:, 0]
    off = np.abs(agreed.mean(axis=0) - values.mean(axis=0))
    once = np.abs(agreed[0] - values.mean(axis=0)).max()
    assert off.max() < once / 4


def test_along_two_axes_workers_are_as_many_along_one():
    values = jax.random.normal(jax.random.key(2), (4, 11))
    one = told(values, [7], "int8")
    two = told(values.reshape(2, 2, 11), [7], "int8", ("data", "worker"))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b.reshape(a.shape))


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
@pytest.mark.parametrize("odd", [0.0, jnp.inf, jnp.nan, 3e38, 1e-40])
def test_odd_numbers_stay_what_they_are(kind, odd):
    rows = jnp.full((1, 4), odd)
    found = value(rounded(rows, kind, jax.random.key(0)))
    if kind == "int8" and not np.isfinite(odd):
        assert not np.isfinite(found).all()  # a run that diverged is seen
    else:
        np.testing.assert_allclose(found, rows, rtol=0.01, atol=1e-37)


def test_alone_there_is_nothing_to_round():
    z = {"a": jnp.ones(3)}
    assert Alone()(z).agreed is z


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_workers_weights_decay_where_it_stands(optimizer):
    given = {"method": "sgd", "optimizer": optimizer, "learning_rate": 0.1, "weight_decay": 0.3}
    with jax.numpy_dtype_promotion("standard"):  # of Adam's own
        plain, alone = (
            Phase.resolve(given | rounds, model="fc", dataset="digits").optimizer(
                START, steps=9, seed=0
            )
            for rounds in ({}, {"local_steps": 3})
        )
        params: Any = START
        mine: Any = START
        state, own = plain.init(START), alone.init(START)
        for i in range(6):
            step, state = plain.update(filled(i), state, params)
            params = optax.apply_updates(params, step)
            step, own = alone.update(filled(i), own, mine, due=i % 3 == 2)
            mine = optax.apply_updates(mine, step)
    np.testing.assert_allclose(flat(mine), flat(params), rtol=1e-5, atol=1e-6)
