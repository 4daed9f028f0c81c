"""Every method with every basis is an Optax transformation like any other, and descends."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import SIZE, START, close, coords_of, filled, flat, loss, make_step, train

from subspace import (
    RandomSubspace,
    SubspaceState,
    TrajectorySubspace,
    fpd,
    in_subspace,
    rbd,
    sgd,
)
from subspace.basis import BASES
from subspace.methods import METHODS, Context, OnTrajectory, Rated
from subspace.methods.rates import learning_rate
from subspace.optim.in_subspace import coordinates
from subspace.options import fields_of

FEWER = {"nes": ["hadamard", "normal", "coordinate"]}
PLAIN = [name for name, method in METHODS.items() if not method.needs_rows]
"""The others need a model's layers, see test_hylo."""
CASES = [
    (name, basis)
    for name, method in METHODS.items()
    if name in PLAIN
    for basis in FEWER.get(name, BASES if "basis" in fields_of(method) else [None])
]
LEFT = {"sgd": 1e-6, "dldr": 1e-6, "rbd": 0.15, "nes": 0.15}


def build(name, basis, learning_rate=0.5, params=START, **options):
    method = METHODS[name]
    given = {"dim": 9, "basis": basis, "learning_rate": learning_rate, "momentum": 0.0}
    if name == "nes":  # as near to rbd as it comes, so that the same figures hold
        given |= {"antithetic": True, "shaping": "none"}
    rate, known = given["learning_rate"], fields_of(method)
    given = {key: value for key, value in (given | options).items() if key in known}
    target = params
    if issubclass(method, OnTrajectory):
        walk = np.cumsum(np.random.default_rng(5).normal(size=(10, SIZE)), axis=0)
        target = TrajectorySubspace.fit(walk.astype(np.float32), 9, params)
    return method(**given).build(target, Context(rate))


@pytest.mark.parametrize(("method", "basis"), CASES)
def test_descends_in_a_plain_loop_with_donated_buffers_and_one_compilation(method, basis):
    optimizer = build(method, basis)
    kept = optimizer.init(START)
    steps = 30
    params, state = train(optimizer, steps)
    # A step of 1/2 takes 3/4 of the loss that its subspace holds, d/D of all on average: RBD has
    # (1 - 0.75 · 9/61)³⁰ = 3% or so left, FPD the 85% or so outside its one subspace.
    assert float(loss(params)) < LEFT.get(method, 0.95) * float(loss(START))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(params))
    # donation has not eaten what the optimizer was made of: another run starts the same
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(optimizer.init(START)), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert jax.tree.structure(state) == jax.tree.structure(kept)


@pytest.mark.parametrize("method", PLAIN)
def test_state_is_plain_arrays_and_continues_after_a_round_trip(method):
    optimizer = build(method, "uniform", momentum=0.9)
    step = make_step(optimizer)
    params, state = train(optimizer, 2, step=step)
    numbers = jax.tree.map(np.asarray, (params, state))
    assert all(leaf.dtype.kind in "fiub" for leaf in jax.tree.leaves(numbers))
    size = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert size <= 2 * SIZE + 9 + (issubclass(METHODS[method], OnTrajectory) and 9 * (SIZE + 10))
    straight, _ = step(params, state)
    close(step(*jax.tree.map(jnp.asarray, numbers))[0], straight, atol=0)


@pytest.mark.parametrize("method", PLAIN)
def test_shapes_serve_as_well_as_arrays(method):
    shapes = jax.eval_shape(lambda: START)
    a = build(method, "uniform", params=shapes, momentum=0.9).init(START)
    b = build(method, "uniform", momentum=0.9).init(START)
    # the structure has the partition and the dimensions in it
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("method", [rbd, fpd])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_in_all_dimensions_every_method_is_sgd(method, momentum):
    full = method(START, 0.1, dim=SIZE, momentum=momentum)
    params, _ = train(full, 6)
    close(params, train(sgd(START, 0.1, momentum=momentum), 6)[0])


@pytest.mark.parametrize("basis", ["hadamard", "normal"])
def test_over_seeds_an_rbd_step_is_sgd_shortened_by_d_over_parameters(basis):
    optimizer, grads, seeds = build("rbd", basis, 1.0), filled(5), 4000

    def first_step(seed):
        state, *rest = optimizer.init(START)  # pyright: ignore
        assert isinstance(state, SubspaceState)
        names, leaves = jax.tree.leaves_with_path(state.space), jax.tree.structure(state.space)
        space = jax.tree.unflatten(
            leaves, [seed if "seed" in jax.tree_util.keystr(path) else x for path, x in names]
        )
        return optimizer.update(grads, (state._replace(space=space), *rest))[0]  # pyright: ignore

    steps = jax.jit(jax.vmap(first_step))(jnp.arange(seeds, dtype=jnp.uint32))
    steps = np.concatenate([np.reshape(leaf, (seeds, -1)) for leaf in jax.tree.leaves(steps)], 1)
    error = steps.std(0) / np.sqrt(seeds)
    expected = -9 / SIZE * flat(grads)
    # 61 means at 5 standard errors, and their sum along the gradient to 1%
    np.testing.assert_array_less(np.abs(steps.mean(0) - expected), 5 * error)
    along = steps @ expected / (expected @ expected)
    assert along.mean() == pytest.approx(1, abs=5 * along.std() / np.sqrt(seeds))
    assert along.std() / np.sqrt(seeds) < 0.01


def test_rbd_momentum_is_a_trace_of_lifted_steps():
    outside = optax.chain(rbd(START, 0.2, dim=9, basis="uniform"), optax.trace(0.9))
    close(train(rbd(START, 0.2, dim=9, basis="uniform", momentum=0.9), 5)[0], train(outside, 5)[0])


def test_fpd_stays_in_its_subspace_with_coordinates_that_say_where():
    space = RandomSubspace(START, dim=9, redraw_every=None, seed=3)
    params, state = train(fpd(START, 0.3, dim=9, seed=3, momentum=0.9), 8)
    moved = jax.tree.map(jnp.subtract, params, START)
    close(jax.jit(lambda coords: space.lift(coords))(coordinates(state)), moved)
    close(jax.jit(lambda tree: space.lift(space.project(tree)))(moved), moved)


def test_fpd_momentum_is_that_of_heavy_ball_in_the_subspace():
    space = RandomSubspace(START, dim=9, basis="uniform", redraw_every=None)
    projector = optax.stateless(lambda grads, params: space.lift(space.project(grads)))
    heavy_ball = optax.chain(projector, optax.sgd(0.2, 0.9))
    close(
        train(fpd(START, 0.2, dim=9, basis="uniform", momentum=0.9), 6)[0], train(heavy_ball, 6)[0]
    )


@pytest.mark.parametrize("method", [rbd, fpd])
def test_frozen_leaves_stay_where_they_are(method):
    def label(path, leaf):
        return None if path == "layer/b" else "rest"

    params, _ = train(method(START, 0.5, dim=9, basis="uniform", compartments=label), 5)
    np.testing.assert_array_equal(params["layer"]["b"], filled(0)["layer"]["b"])
    assert not np.allclose(params["out"], filled(0)["out"])


def test_rbd_takes_a_schedule():
    def schedule(count):
        return jnp.where(count < 2, 0.5, 0.0)

    optimizer = rbd(START, schedule, dim=9, basis="uniform")
    step = make_step(optimizer)
    params, state = train(optimizer, 2, step=step)
    reached = flat(params)
    np.testing.assert_array_equal(flat(step(params, state)[0]), reached)
    assert not np.allclose(reached, flat(START))


def test_rbd_redraws_every_k_steps():
    optimizer = rbd(START, 0.5, dim=9, basis="uniform", redraw_every=3)
    update, state, steps = jax.jit(optimizer.update), optimizer.init(START), []
    for _ in range(6):
        step, state = update(START, state)
        steps.append(flat(step))
    same = [bool(np.array_equal(a, b)) for a, b in pairwise(steps)]
    assert same == [True, True, False, True, True]


def test_coordinates_are_found_wherever_the_subspace_stands():
    inner = in_subspace(RandomSubspace(START, dim=9), optax.sgd(0.1))
    state = optax.chain(optax.clip_by_global_norm(1.0), inner).init(START)
    assert coords_of(state).shape == (9,)
    assert coordinates(optax.adam(0.1).init(START)) is None


def test_every_method_has_a_default_learning_rate_for_any_model_and_data():
    for name, method in METHODS.items():
        if issubclass(method.schedule, Rated):
            assert learning_rate(name, "any model", "any data").learning_rate > 0
