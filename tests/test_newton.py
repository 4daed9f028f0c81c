"""Newton's direction on problems whose answers are known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subspace_problem import descend

from subspace import InvalidInput, p_newton
from subspace.optim.newton import scale_by_newton

CURVATURES = jnp.asarray([1.0, 10.0, 100.0])


def bowl(z):
    return 0.5 * jnp.sum(CURVATURES * z**2)


def direction(loss, z, damping) -> Any:
    newton: Any = scale_by_newton(damping=damping)
    return newton.update(jax.grad(loss)(z), newton.init(z), z, value_fn=loss)[0]


def test_one_step_solves_a_quadratic_up_to_damping():
    z = jnp.asarray([1.0, -2.0, 3.0])
    expected = CURVATURES * z / (CURVATURES + 0.01 * 100)
    np.testing.assert_allclose(direction(bowl, z, 0.01), expected, rtol=1e-4)
    np.testing.assert_allclose(direction(bowl, z, 1e-6), z, rtol=1e-3)


def test_goes_down_where_the_curvature_is_negative():
    def saddle(z):
        return 0.5 * (z[0] ** 2 - z[1] ** 2)

    z = jnp.asarray([1.0, 0.5])
    np.testing.assert_allclose(direction(saddle, z, 1e-6), [1.0, -0.5], rtol=1e-4)


def test_a_flat_loss_gives_a_finite_step():
    assert np.all(np.isfinite(direction(lambda z: 0.0 * jnp.sum(z), jnp.ones(2), 1e-3)))


def test_finds_the_lowest_point_of_a_subspace_in_a_few_steps():
    gradient, before, after = descend(p_newton, "uniform", 6)
    assert np.abs(gradient).max() < 1e-2
    assert after < before


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="damping"):
        scale_by_newton(damping=0.0)
    newton: Any = scale_by_newton()
    with pytest.raises(ValueError, match="value_fn"):
        newton.update(jnp.ones(2), newton.init(jnp.ones(2)), jnp.ones(2))
