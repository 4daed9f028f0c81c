"""Optimizers by name: what the methods hand to Optax, against Optax itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subspace import InvalidInput, RandomSubspace, in_subspace, methods
from subspace.config.phase import Phase
from subspace.methods.base import Context

PARAMS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=40), jnp.float32)}
OPTAX: dict[str, Any] = {
    "adam": lambda rate: optax.adam(rate),
    "adamw": lambda rate: optax.adamw(rate, weight_decay=0.25),
}


@pytest.fixture(autouse=True)
def _promotion():
    with jax.numpy_dtype_promotion("standard"):  # of Adam's own
        yield


def gradient(params):
    return jax.tree.map(lambda x: jnp.tanh(3 * x - 1), params)


def walked(optimizer, steps=5):
    params: Any = PARAMS
    state: Any = optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params["w"]


def phase(method, **about):
    return Phase.resolve(
        {"method": method, "learning_rate": 0.1, **about}, model="fc", dataset="digits"
    ).optimizer(PARAMS, steps=10, seed=0)


@pytest.mark.parametrize("name", OPTAX)
def test_sgd_by_another_name_is_optax(name):
    decay = {"weight_decay": 0.25} if name == "adamw" else {}
    expected = walked(OPTAX[name](0.1))
    np.testing.assert_allclose(walked(phase("sgd", optimizer=name, **decay)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", OPTAX)
def test_in_a_fixed_subspace_it_steps_in_coordinates(name):
    spread = (40 / 8) ** 0.5  # over 40 numbers
    decay = {"weight_decay": 0.25 * spread} if name == "adamw" else {}
    space = RandomSubspace(PARAMS, dim=8, redraw_every=None)
    expected = walked(in_subspace(space, OPTAX[name](0.1)))
    found = walked(phase("fpd", optimizer=name, dim=8, learning_rate=0.1 / spread, **decay))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dim", [2, 10, 40])
def test_adams_rate_is_that_of_a_number_whatever_d(dim):
    step: Any = phase("fpd", optimizer="adam", dim=dim)
    updates, _ = step.update(gradient(PARAMS), step.init(PARAMS), PARAMS)
    assert float(jnp.sqrt(jnp.mean(updates["w"] ** 2))) == pytest.approx(0.1, rel=1e-3)


def test_where_directions_change_it_steps_along_what_they_follow():
    space = RandomSubspace(PARAMS, dim=8)
    expected = walked(optax.chain(in_subspace(space, None), optax.adam(0.1)))
    np.testing.assert_allclose(walked(phase("rbd", optimizer="adam", dim=8)), expected, rtol=1e-6)


def test_weight_decay_of_adam_goes_through_the_gradient():
    expected = walked(optax.chain(optax.add_decayed_weights(0.25), optax.adam(0.1)))
    found = walked(phase("sgd", optimizer="adam", weight_decay=0.25))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["sgd", "fpd", "rbd"])
def test_a_long_gradient_is_shortened(method):
    few = {} if method == "sgd" else {"dim": 8}
    (long,) = jax.tree.leaves(gradient(PARAMS))
    optimizer = phase(method, clip=0.01, **few)
    updates: Any = optimizer.update({"w": long}, optimizer.init(PARAMS), PARAMS)[0]
    np.testing.assert_allclose(jnp.linalg.norm(updates["w"]), 0.1 * 0.01, rtol=1e-3)


@pytest.mark.parametrize(
    "method", [one for one in methods.METHODS.values() if hasattr(one, "optimizer")]
)
def test_every_method_that_has_one_has_a_rate_for_each(method):
    from subspace.methods import rates

    for name in ("sgd", "adam", "adamw"):
        row = rates.learning_rate(method(optimizer=name).rate_name, "vit", "mnist")
        assert row.method == method(optimizer=name).rate_name, row


def test_momentum_is_of_sgd_alone():
    with pytest.raises(InvalidInput, match="momentum"):
        methods.SGD(optimizer="adam", momentum=0.5)
    with pytest.raises(InvalidInput, match="did you mean 'adam'"):
        methods.SGD(optimizer="adan")
    built = methods.SGD(optimizer="adam").inner(Context(0.1))
    assert isinstance(built, optax.GradientTransformation)
