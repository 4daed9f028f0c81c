"""Steps whose unit is a trajectory's length."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subspace.optim.newton import scale_by_newton
from subspace.optim.prior import Prior, scale_by_prior

PRIOR = Prior(jnp.asarray([4.0, 1.0, 0.01]), jnp.asarray(3.0))
GRADIENT = jnp.asarray([0.5, -1.0, 2.0])


def test_the_first_step_is_as_long_as_the_trajectory_and_goes_where_it_went():
    scale: Any = scale_by_prior(PRIOR)
    step, _ = scale.update(GRADIENT, scale.init(GRADIENT))
    assert float(jnp.linalg.norm(step)) == pytest.approx(3.0, rel=1e-5)
    expected = PRIOR.variances * GRADIENT
    np.testing.assert_allclose(step, expected * 3 / jnp.linalg.norm(expected), rtol=1e-5)


def test_no_step_is_longer_and_shorter_gradients_give_shorter_ones():
    scale: Any = scale_by_prior(PRIOR)
    state = scale.init(GRADIENT)
    lengths = []
    for times in (1.0, 0.5, 8.0, 1.0):
        step, state = scale.update(times * GRADIENT, state)
        lengths.append(float(jnp.linalg.norm(step)))
    np.testing.assert_allclose(lengths, [3.0, 1.5, 3.0, 3.0 / 8], rtol=1e-5)


@pytest.mark.parametrize("loss_unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("length_unit", [1e-3, 1.0, 1e3])
def test_a_learning_rate_suits_any_units(loss_unit, length_unit):
    variances = PRIOR.variances * length_unit**2
    prior = Prior(variances, PRIOR.length * length_unit)
    optimizer: Any = optax.chain(scale_by_prior(prior), optax.sgd(0.1, 0.9))
    z = start = length_unit * jnp.asarray([2.0, 1.0, 0.1])
    state = optimizer.init(z)
    for _ in range(200):
        gradient = loss_unit * z / variances  # of the bowl whose trajectory it was
        step, state = optimizer.update(gradient, state)
        z = z + step
    assert float(jnp.linalg.norm(z)) < 1e-3 * float(jnp.linalg.norm(start))


def test_begun_at_the_bottom_it_comes_back():
    prior = Prior(jnp.ones(2), jnp.asarray(100.0))
    optimizer: Any = optax.chain(scale_by_prior(prior), optax.sgd(0.1, 0.9))
    z = jnp.asarray([1e-6, 0.0])  # where any gradient is small beside the trajectory's first
    state, farthest = optimizer.init(z), 0.0
    for _ in range(300):
        step, state = optimizer.update(z, state)
        z = z + step
        farthest = max(farthest, float(jnp.linalg.norm(z)))
    assert farthest < 1000
    assert float(jnp.linalg.norm(z)) < 1e-2


def test_no_gradient_is_no_step():
    scale: Any = scale_by_prior(PRIOR)
    step, _ = scale.update(0 * GRADIENT, scale.init(GRADIENT))
    np.testing.assert_array_equal(step, 0)


def test_newton_damps_in_the_trajectory_s_units():
    curvatures = jnp.asarray([1.0, 4.0, 400.0])  # 1/λ, but for a factor: alike in its units

    def bowl(z):
        return 0.5 * jnp.sum(curvatures * z**2)

    z = jnp.asarray([1.0, -2.0, 0.3])
    newton: Any = scale_by_newton(damping=0.5, prior=PRIOR)
    step, _ = newton.update(curvatures * z, newton.init(z), z, value_fn=bowl)
    np.testing.assert_allclose(step, z / 1.5, rtol=1e-4)
