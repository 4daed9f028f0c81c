"""The trajectory's subspace against scikit-learn's PCA, and its laws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from subspace import InvalidInput, TrajectorySubspace, p_sgd, twa

COUNT, SIZE = 21, 3007
PARAMS = {"a": jnp.zeros((3000,)), "b": jnp.zeros((7,))}


def walk(count=COUNT, size=SIZE, seed=0):
    """A random walk whose steps shrink, as training's do."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, size)) * np.geomspace(1, 0.05, count)[:, None]
    return (5 + np.cumsum(steps, axis=0)).astype(np.float32)


def test_is_scikit_learns_pca():
    samples = walk()
    space = TrajectorySubspace.fit(samples, 6, PARAMS)
    exact: Any = PCA(6, svd_solver="full").fit(samples)
    cosines = np.linalg.svd(np.asarray(space.rows) @ exact.components_.T)[1]
    assert np.arccos(np.clip(cosines.min(), -1, 1)) < 1e-3
    ratio = np.asarray(space.explained_variance_ratio)
    np.testing.assert_allclose(ratio[:6], exact.explained_variance_ratio_, rtol=1e-4)
    np.testing.assert_allclose(ratio.sum(), 1, rtol=1e-5)
    variances = exact.explained_variance_ * (len(samples) - 1) / len(samples)
    np.testing.assert_allclose(space.variances, variances, rtol=1e-4)
    np.testing.assert_allclose(space.length, np.linalg.norm(samples[-1] - samples[0]), rtol=1e-4)


def test_samples_of_whole_numbers_are_as_good():
    samples = np.round(walk() * 100).astype(np.int32)
    whole = TrajectorySubspace.fit(samples, 6, PARAMS)
    real = TrajectorySubspace.fit(samples.astype(np.float32), 6, PARAMS)
    np.testing.assert_array_equal(whole.rows, real.rows)


def test_rows_are_orthonormal_even_for_directions_of_tiny_variance():
    space = TrajectorySubspace.fit(walk(), COUNT - 1, PARAMS)
    gram = np.asarray(space.rows, np.float64) @ np.asarray(space.rows, np.float64).T
    np.testing.assert_allclose(gram, np.eye(COUNT - 1), atol=1e-5)


def test_lift_and_project_are_adjoint_and_stay_in_the_span():
    space = TrajectorySubspace.fit(walk(), 4, PARAMS)
    z = {"trajectory": jnp.arange(4.0)}
    tree = space.lift(z)
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, PARAMS)
    np.testing.assert_allclose(space.project(tree)["trajectory"], np.arange(4.0), atol=1e-5)
    same, coords = space.redraw(z)
    assert same is space
    assert coords is z


def test_a_fraction_takes_as_many_directions_as_explain_it():
    samples = walk()
    total = np.cumsum(PCA(svd_solver="full").fit(samples).explained_variance_ratio_)
    for fraction in (0.5, 0.9, 0.99):
        space = TrajectorySubspace.fit(samples, fraction, PARAMS)
        assert len(space.rows) == np.searchsorted(total, fraction) + 1


def test_samples_may_lie_on_disk(tmp_path):
    samples = walk()
    np.save(tmp_path / "walk.npy", samples)
    mapped = np.load(tmp_path / "walk.npy", mmap_mode="r")
    a, b = (TrajectorySubspace.fit(array, 3, PARAMS).rows for array in (samples, mapped))
    np.testing.assert_array_equal(a, b)


def test_a_trajectory_without_so_many_directions_gives_fewer_and_says_so():
    flat = walk(4)[[0, 1, 2, 3, 3, 2, 1, 0]]
    with pytest.warns(UserWarning, match="spans only 3 directions"):
        space = TrajectorySubspace.fit(flat, 6, PARAMS)
    assert space.rows.shape == (3, SIZE)
    assert np.all(np.isfinite(space.rows))


@pytest.mark.parametrize(
    ("samples", "dim", "words"),
    [
        (walk(5), 5, "from 1 to 4"),
        (walk(5), 0, "from 1 to 4"),
        (walk(5), 1.5, "from 1 to 4"),
        (walk(5, SIZE - 1), 2, "trajectory of the same model"),
        (np.ones((5, SIZE), np.float32), 2, "all equal"),
    ],
)
def test_bad_input_is_named(samples, dim, words):
    with pytest.raises(InvalidInput, match=words):
        TrajectorySubspace.fit(samples, dim, PARAMS)


def descended(optimizer, params, target, steps):
    """The parameters after steps down half the squared distance to a target."""

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(jnp.subtract, params, target)
        updates, state = optimizer.update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def test_p_sgd_converges_in_the_subspace():
    space = TrajectorySubspace.fit(walk(), 4, PARAMS)
    target = jax.tree.map(lambda leaf: leaf + 1, PARAMS)
    params = descended(p_sgd(space, 0.1), PARAMS, target, 150)
    gap = jax.tree.map(jnp.subtract, params, target)
    np.testing.assert_allclose(space.project(gap)["trajectory"], 0, atol=1e-2)


def some_tree(seed):
    draws = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(draws.normal(size=leaf.shape), jnp.float32), PARAMS
    )


def test_half_samples_make_half_rows_that_span_the_same(monkeypatch):
    monkeypatch.setattr("subspace.spaces.trajectory._BLOCK", 500)
    samples = walk() - 5
    full = TrajectorySubspace.fit(samples, 4, PARAMS)
    half = TrajectorySubspace.fit(samples.astype(np.float16), 4, PARAMS)
    assert half.rows.dtype == np.float16
    cosines = np.linalg.svd(np.asarray(full.rows) @ np.asarray(half.rows, np.float32).T)[1]
    assert cosines.min() > 0.999
    tree = some_tree(0)
    found = jax.jit(lambda space: space.filter(tree)[1])(half)
    for one, other in zip(
        map(np.asarray, full.filter(tree)[1].values()), found.values(), strict=True
    ):
        assert other.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=5e-3)


@pytest.mark.parametrize("block", [500, 1 << 20])
def test_half_rows_lift_and_project_as_adjoints(monkeypatch, block):
    monkeypatch.setattr("subspace.spaces.trajectory._BLOCK", block)
    half = TrajectorySubspace.fit(walk().astype(np.float16), 4, PARAMS)
    tree, z = some_tree(1), {"trajectory": jnp.arange(1.0, 5.0)}
    lifted = half.lift(z)
    over = sum(float(jnp.vdot(lifted[name], tree[name])) for name in tree)
    assert over == pytest.approx(
        float(z["trajectory"] @ half.project(tree)["trajectory"]), rel=1e-4
    )


def test_about_zero_the_rows_span_every_weighted_sum_of_the_samples():
    samples = walk(6)
    space = TrajectorySubspace.fit(samples, None, PARAMS, centred=False)
    assert space.rows.shape == (6, SIZE)
    rows, weights = np.asarray(space.rows, np.float64), np.asarray([0.1, 0.4, -1.0, 0.2, 2.0, 0.3])
    for vector in (*samples.astype(np.float64), weights @ samples):
        np.testing.assert_allclose(rows.T @ (rows @ vector), vector, rtol=1e-4, atol=1e-4)
    assert TrajectorySubspace.fit(walk(6), None, PARAMS).rows.shape == (5, SIZE)
    with pytest.raises(InvalidInput, match="from 1 to 6"):
        TrajectorySubspace.fit(samples, 7, PARAMS, centred=False)


def test_twa_trains_the_coefficients_of_an_average():
    samples = walk(6)
    space = TrajectorySubspace.fit(samples, None, PARAMS, centred=False)
    start = partition(samples.mean(axis=0))
    wanted = partition(np.asarray([0.5, 0, 0, 0, 1.0, 0.5]) @ samples)
    params = descended(twa(space, 0.3), start, wanted, 200)
    for have, want in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-3)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).astype(np.float64)
    coefficients = np.linalg.lstsq(samples.astype(np.float64).T, flat, rcond=None)[0]
    np.testing.assert_allclose(coefficients, [0.5, 0, 0, 0, 1.0, 0.5], atol=1e-2)


def partition(vector):
    vector = jnp.asarray(vector, jnp.float32)
    return {"a": vector[:3000], "b": vector[3000:]}
