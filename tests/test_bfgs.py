"""BFGS and its line search against SciPy's, and their policies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from subspace_problem import descend

from subspace import InvalidInput, p_bfgs
from subspace.optim.bfgs import scale_by_bfgs
from subspace.optim.linesearch import backtracking
from subspace.optim.prior import Prior


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(size, condition):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    matrix = turn @ np.diag(np.geomspace(1, condition, size)) @ turn.T
    return lambda x: 0.5 * x @ jnp.asarray(matrix) @ x


def minimise(loss: Any, start, limit=400, tolerance=1e-5, **policy) -> tuple[int, Any, Any]:
    """Iterations until the gradient's largest entry is below the tolerance, and the end."""
    optimizer = optax.chain(scale_by_bfgs(**policy), optax.scale(-1.0), backtracking())
    gradient = jax.jit(jax.value_and_grad(loss))

    @jax.jit
    def step(x, state, value, grad):
        extra = {"value": value, "grad": grad, "value_fn": loss}
        updates, state = optimizer.update(grad, state, x, **extra)
        return x + updates, state

    x, state = start, optimizer.init(start)
    for count in range(limit):
        value, grad = gradient(x)
        if jnp.max(jnp.abs(grad)) < tolerance:
            return count, x, state
        x, state = step(x, state, value, grad)
    return limit, x, state


PROBLEMS = {
    "rosenbrock 2": (rosenbrock, [-1.2, 1.0]),
    "rosenbrock 8": (rosenbrock, [-1.2, 1.0] * 4),
    "quadratic 10": (quadratic(10, 100.0), [1.0] * 10),
    "quadratic 64": (quadratic(64, 1000.0), [1.0] * 64),
}


@pytest.mark.parametrize("pairs", ["shared", "paper"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_needs_as_many_iterations_as_scipy(name, pairs):
    loss, start = PROBLEMS[name]
    gradient = jax.jit(jax.grad(loss))
    theirs = scipy.optimize.minimize(
        lambda x: float(loss(x)),
        np.array(start),
        jac=lambda x: np.asarray(gradient(x)),
        method="BFGS",
        options={"gtol": 1e-5},
    )
    count, x, state = minimise(loss, jnp.asarray(start), pairs=pairs)
    assert abs(count - theirs.nit) <= 0.2 * theirs.nit
    np.testing.assert_allclose(x, theirs.x, atol=1e-4)
    assert int(state[2].failures) == 0
    assert int(state[2].trials) >= int(state[2].searches) == count


def test_p_bfgs_finds_the_lowest_point_of_a_subspace():
    projected, before, after = descend(p_bfgs, "hadamard", 25)
    assert np.abs(projected).max() < 1e-2
    assert after < before


def initial(optimizer, x) -> Any:
    return optimizer.init(x)


def advanced(optimizer, updates, state, x, **extra) -> tuple[Any, Any]:
    return optimizer.update(updates, state, x, **extra)


def uphill(x):
    """A loss whose claimed gradient points the wrong way: no step along it can help."""
    return jnp.sum(x**2)


@pytest.mark.parametrize("policy", ["stay", "paper"])
def test_a_failed_search_is_counted_and_stays_unless_asked(policy):
    search = backtracking(on_failure=policy)
    x = jnp.ones(3)
    extra = {"value": uphill(x), "grad": -2 * x, "value_fn": uphill}
    updates, state = advanced(search, 2 * x, initial(search, x), x, **extra)
    assert (int(state.searches), int(state.failures), int(state.trials)) == (1, 1, 20)
    expected = 0.0 if policy == "stay" else 2 * 0.4**19
    np.testing.assert_allclose(updates, np.full(3, expected), rtol=1e-6)
    good, state = advanced(search, -2 * x, state, x, **(extra | {"grad": 2 * x}))
    assert (int(state.failures), bool(jnp.all(good < 0))) == (1, True)


def test_the_estimate_starts_afresh_after_steps_that_did_not_move():
    optimizer = scale_by_bfgs(pairs="paper", reset_after=2)
    x, g = jnp.zeros(2), jnp.asarray([1.0, 2.0])
    state = initial(optimizer, x)
    _, state = advanced(optimizer, g, state, x)
    _, state = advanced(optimizer, g / 3, state, x - g)
    assert not np.allclose(state.h, np.eye(2))
    _, state = advanced(optimizer, g / 3, state, x - g)
    assert not np.allclose(state.h, np.eye(2))
    _, state = advanced(optimizer, g / 3, state, x - g)
    np.testing.assert_array_equal(state.h, np.eye(2))


def test_negative_curvature_is_damped_or_skipped_and_never_breaks_the_estimate():
    x, g = jnp.zeros(2), jnp.asarray([1.0, 2.0])
    for damping in (0.2, 0.0):
        optimizer = scale_by_bfgs(pairs="paper", damping=damping)
        _, state = advanced(optimizer, g, initial(optimizer, x), x)
        _, state = advanced(optimizer, 2 * g, state, x - g)  # the gradient grew on the way down
        assert np.linalg.eigvalsh(state.h).min() > 0
        assert np.allclose(state.h, np.eye(2)) == (damping == 0)


def test_unknown_policies_are_named():
    with pytest.raises(InvalidInput, match="choose from: paper, shared"):
        scale_by_bfgs(pairs="other")
    with pytest.raises(InvalidInput, match="choose from: stay, paper"):
        backtracking(on_failure="other")
    optimizer = scale_by_bfgs(pairs="shared")
    with pytest.raises(ValueError, match="value_fn"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_a_prior_of_the_trajectory_reaches_the_minimum_sooner_at_any_scale_of_the_loss(scale):
    """Far where the loss is flat, as a trajectory of SGD is; coordinates with some noise."""
    curvature = np.geomspace(1, 1000, 20)
    start = np.random.default_rng(2).normal(size=20) / np.sqrt(curvature)

    def loss(x):
        return scale * 0.5 * jnp.sum(jnp.asarray(curvature) * x**2)

    guess = np.random.default_rng(3).uniform(0.5, 2, 20) / curvature
    prior = Prior(jnp.asarray(guess), jnp.linalg.norm(start))
    plain, *_ = minimise(loss, start, tolerance=scale * 1e-6)
    known, x, _ = minimise(loss, start, tolerance=scale * 1e-6, prior=prior)
    assert known < 0.6 * plain
    np.testing.assert_allclose(x, 0, atol=1e-5)


def test_the_first_step_is_as_long_as_the_trajectory_and_so_is_the_one_after_a_reset():
    prior = Prior(jnp.asarray([4.0, 1.0]), jnp.asarray(3.0))
    optimizer = scale_by_bfgs(prior=prior, reset_after=1)
    x, g = jnp.zeros(2), jnp.asarray([1.0, 2.0])
    step, state = advanced(optimizer, g, initial(optimizer, x), x)
    expected = np.array([4.0, 2.0]) * 3 / np.sqrt(20)
    np.testing.assert_allclose(step, expected, rtol=1e-12)
    again, _ = advanced(optimizer, 5 * g, state, x)
    np.testing.assert_allclose(again, expected, rtol=1e-12)


def test_a_trajectory_that_says_nothing_leaves_the_gradient_as_it_is():
    prior = Prior(jnp.ones(2), jnp.asarray(0.0))  # it came back to where it began
    for gradient in (jnp.zeros(2), jnp.asarray([1.0, 2.0])):
        optimizer = scale_by_bfgs(prior=prior)
        step, _ = advanced(optimizer, gradient, initial(optimizer, gradient), jnp.zeros(2))
        np.testing.assert_array_equal(step, gradient)
