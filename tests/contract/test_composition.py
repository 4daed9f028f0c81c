"""`in_subspace` composes: inside chains, and around any Optax optimizer, line searches too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import SIZE, START, TARGET, close, coords_of, flat, train

from subspace import RandomSubspace, SubspaceState, in_subspace, rbd

SPACE = RandomSubspace(START, dim=9, basis="uniform", redraw_every=None)
WEIGHTS = jax.tree.map(lambda leaf: jnp.exp(0.5 * leaf), TARGET)


@pytest.fixture(autouse=True)
def _optax_promotes():
    """Optax's schedules and line searches mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def bowl(params):
    """A quadratic with curvatures of about 1/3 to 3."""
    gaps = jax.tree.map(lambda p, t, w: w * (p - t) ** 2, params, TARGET, WEIGHTS)
    return 0.5 * sum(jnp.sum(gap) for gap in jax.tree.leaves(gaps))


def lowest_in_subspace():
    """The least of `bowl` on START + span(P), by least squares with a dense P."""
    lift = jax.jit(jax.vmap(lambda z: SPACE.lift({"whole": z})))
    p = np.concatenate([np.reshape(leaf, (9, -1)) for leaf in jax.tree.leaves(lift(jnp.eye(9)))], 1)
    root = np.sqrt(flat(WEIGHTS))
    gap = flat(TARGET) - flat(START)
    z = np.linalg.lstsq(p.T * root[:, None], root * gap, rcond=None)[0]
    return flat(START) + z @ p


INNER = {
    "adam": (optax.adam(optax.exponential_decay(0.5, 10, 0.8)), 300),
    "lbfgs": (optax.lbfgs(), 25),
    "backtracking": (
        optax.chain(
            optax.sgd(1.0),
            optax.scale_by_backtracking_linesearch(max_backtracking_steps=15),
        ),
        60,
    ),
    "decay and clipping": (
        optax.chain(optax.clip(1e3), optax.add_decayed_weights(0.0), optax.sgd(0.4, 0.5)),
        100,
    ),
}


@pytest.mark.parametrize("name", INNER)
def test_stock_optimizers_find_the_lowest_point_of_the_subspace(name):
    inner, steps = INNER[name]
    params, _ = train(in_subspace(SPACE, inner), steps, bowl)
    np.testing.assert_allclose(flat(params), lowest_in_subspace(), atol=2e-3)


def test_a_line_search_works_over_a_basis_of_rows_that_is_redrawn():
    space = RandomSubspace(START, dim=9, basis="uniform")
    inner = optax.chain(optax.sgd(2.0), optax.scale_by_zoom_linesearch(10))
    params, _ = train(in_subspace(space, inner), 10, bowl)
    assert bowl(params) < 0.5 * bowl(START)


def test_the_inner_optimizer_sees_the_chart_of_the_loss():
    def gaps(updates, state, params=None, *, value_fn, grad, value, **extra):
        assert params is not None
        at, step = params["whole"], SPACE.lift({"whole": jnp.full(9, 0.1)})
        there = bowl(optax.apply_updates(START, step))
        here = value_fn(params) - value
        gradient = jax.grad(value_fn)(params)["whole"] - grad["whole"]
        return updates, (here, gradient, value_fn({"whole": at + 0.1}) - there)

    spy = optax.GradientTransformationExtraArgs(lambda coords: (), gaps)  # pyright: ignore
    optimizer = in_subspace(SPACE, spy)

    @jax.jit
    def measured(params):
        value, grads = jax.value_and_grad(bowl)(params)
        state = optimizer.init(params)
        _, state = optimizer.update(grads, state, params, value=value, value_fn=bowl)
        assert isinstance(state, SubspaceState)
        return state.inner

    for gap in measured(START):
        np.testing.assert_allclose(gap, 0, atol=2e-5)


def test_transformations_before_and_after_act_on_parameters():
    learning_rate, decay = 0.3, 0.1
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(decay),
        rbd(START, learning_rate, dim=SIZE),
        optax.scale(0.5),
    )
    plain = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(decay),
        optax.sgd(learning_rate),
        optax.scale(0.5),
    )
    close(train(optimizer, 4)[0], train(plain, 4)[0])


def test_weight_decay_inside_pulls_coordinates_to_zero():
    space = RandomSubspace(START, dim=9, basis="coordinate", redraw_every=None)
    decayed = in_subspace(space, optax.chain(optax.add_decayed_weights(1.0), optax.sgd(0.4)))
    free = in_subspace(space, optax.sgd(0.4))
    coords = coords_of(train(decayed, 40)[1])
    # P is orthonormal, so for ½‖θ - t‖² + ½‖z‖² the optimum is half of the one without decay
    np.testing.assert_allclose(coords, coords_of(train(free, 40)[1]) / 2, atol=1e-4)


def test_skipping_steps_that_are_not_finite_leaves_everything_still():
    optimizer = optax.apply_if_finite(
        rbd(START, 0.5, dim=9, basis="uniform"), max_consecutive_errors=3
    )
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, START)
    updates, state = jax.jit(optimizer.update)(bad, optimizer.init(START), START)
    assert not np.any(flat(updates))
    assert state.inner_state[0].space.step == 0


def test_accumulated_micro_batches_make_the_step_of_their_mean():
    optimizer = optax.MultiSteps(rbd(START, 0.5, dim=9, basis="uniform"), every_k_schedule=2)
    update, state = jax.jit(optimizer.update), optimizer.init(START)
    first, state = update(START, state, START)
    second, state = update(TARGET, state, START)
    assert not np.any(flat(first))
    mean = jax.tree.map(lambda a, b: (a + b) / 2, START, TARGET)
    single = rbd(START, 0.5, dim=9, basis="uniform")
    close(second, jax.jit(single.update)(mean, single.init(START))[0])


def test_low_precision_parameters_get_updates_of_their_own_precision():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), START)
    optimizer = rbd(params, 0.5, dim=9, basis="uniform")
    updates, state = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    assert coords_of(state).dtype == jnp.float32
    wide = rbd(START, 0.5, dim=9, basis="uniform")
    expected, _ = jax.jit(wide.update)(START, wide.init(START))
    assert np.abs(flat(updates).astype(np.float32) - flat(expected)).max() < 0.02
