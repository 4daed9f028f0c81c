"""RBD in law against explicit unit rows: the same distribution, at any n and d."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys, mean, normals
from scipy import stats

from subspace.errors import InvalidInput
from subspace.methods.random import rbd, rbd_in_law
from subspace.optim.exchange import Mean
from subspace.optim.rbd_law import (
    LawState,
    first_coordinates,
    sample_step,
    scale_by_rbd_law,
)

SMALL = ((2, 3), (3, 1), (5, 7), (40, 10))
"""(n, d): a line to walk on, one row, d > n, and a tree of odd widths 5 and 3."""
EXPLICIT, DRAWS = 100_000, 200_000
LEVEL = 1e-4  # of each Kolmogorov-Smirnov test, of which there are 5 for each (n, d)
PARAMS = {"a": jnp.zeros((5, 4)), "b": jnp.zeros(9), "c": jnp.zeros(16)}


def gradient(seed=0):
    return {name: jnp.asarray(normals(*leaf.shape, seed=seed)) for name, leaf in PARAMS.items()}


def words(count):
    return jax.random.bits(keys(1)[0], (2, count), jnp.uint32)


@functools.cache
def drawn(n, d, count=DRAWS):
    """Samples of u, shape (count, n)."""
    draw = jax.jit(jax.vmap(lambda key: sample_step(key, jnp.asarray(normals(n)), d)))
    return np.asarray(draw(keys(count, root=n)))


@functools.cache
def explicit(n, d):
    """The same from d unit normal rows each, made one at a time."""
    rng, g = np.random.default_rng(n), normals(n)
    total = np.zeros((EXPLICIT, n), np.float32)
    for _ in range(d):
        rows = rng.standard_normal((EXPLICIT, n), np.float32)
        total += (rows @ g / np.einsum("ij,ij->i", rows, rows))[:, None] * rows
    return total


def directions(n):
    """ĝ and two others."""
    vectors = np.stack([normals(n), *normals(2, n, seed=9)]).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def across(u):
    unit = directions(u.shape[1])[0]
    return u - np.outer(u @ unit, unit)


def measures(u):
    """What is compared: along ĝ, along two others, the length, the length across ĝ."""
    lengths = [np.linalg.norm(u, axis=1), np.linalg.norm(across(u), axis=1)]
    return [*(u @ directions(u.shape[1]).T).T, *lengths]


def unlike(a, b):
    return stats.ks_2samp(a, b, method="asymp").pvalue < LEVEL  # pyright: ignore


def differing(u, v):
    """Which measures two samples differ in."""
    pairs = zip(measures(u), measures(v), strict=True)
    return [i for i, (a, b) in enumerate(pairs) if unlike(a, b)]


def scores(u, d):
    """Standard errors by which moments are off, and the standard errors as parts of the moments.

    With A = Σ φφᵀ: E A = (d/n) I, E A² = (d/n + d(d-1)/n²) I, and var ĝᵀAĝ = 2d(n-1)/(n²(n+2)).
    """
    n, g = u.shape[1], normals(u.shape[1]).astype(np.float64)
    power, share = g @ g, d / u.shape[1]
    along = power * 2 * d * (n - 1) / (n**2 * (n + 2))
    whole = power * (share + d * (d - 1) / n**2)
    aside = whole - along - power * share**2
    cosines = directions(n) @ directions(n)[0]
    centre = np.sqrt(power) * share * cosines
    values = [((u @ directions(n).T - centre) ** 2).T, (u**2).sum(1), (across(u) ** 2).sum(1)]
    spread = along * cosines**2 + aside / (n - 1) * (1 - cosines**2)
    got = mean(np.vstack([u @ directions(n)[0], *values]).T)
    expected = np.array([centre[0], *spread, whole, aside])
    return np.abs(got.mean - expected) / got.error, got.error / expected


@pytest.mark.parametrize(("n", "d"), SMALL)
def test_steps_are_distributed_as_those_of_explicit_rows(n, d):
    assert differing(drawn(n, d), explicit(n, d)) == []


@pytest.mark.parametrize(("n", "d"), SMALL)
def test_moments_are_exact(n, d):
    off, error = scores(drawn(n, d), d)
    assert off.max() < 4.5  # 6 moments of 5 samples: 2e-4 in all
    assert error.max() < 0.0045  # 4.5 of which are 2%


@pytest.mark.parametrize(("n", "d"), SMALL)
def test_one_percent_in_the_length_or_in_the_walk_would_be_found(n, d):
    u = drawn(n, d)
    assert differing(1.01 * u, explicit(n, d)) != []
    assert scores(1.01 * u, d)[0].max() > 4.5
    assert scores(u + np.float32(0.01) * across(u), d)[0].max() > 4.5


def test_with_one_parameter_every_row_finds_the_whole_gradient():
    np.testing.assert_array_equal(drawn(1, 3, 5), np.tile(3 * normals(1), (5, 1)))


def test_expected_step_is_a_part_d_of_n_of_the_gradient():
    got = mean(drawn(1000, 100, 3000))
    np.testing.assert_array_less(np.abs(got.mean - 0.1 * normals(1000)), 5 * got.error)
    assert scores(drawn(1000, 100, 3000), 100)[0].max() < 4.5


@pytest.mark.parametrize("n", [2, 3, 4, 122_570])
def test_first_coordinates_have_the_law_of_a_point_on_the_sphere(n):
    t, rest = (np.asarray(x, np.float64) for x in first_coordinates(words(100_000), n))
    assert stats.kstest(t**2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue > LEVEL
    assert abs(np.sign(t).mean()) < 5 / np.sqrt(t.size)
    np.testing.assert_allclose(t**2 + rest, 1, atol=1e-6)


def test_walks_on_a_line_take_both_signs_alike():
    signs, rest = first_coordinates(words(100_000), 1)
    assert set(np.unique(signs)) == {-1, 1}
    assert not np.any(rest)
    assert abs(np.mean(signs)) < 5 / np.sqrt(signs.size)


@pytest.mark.parametrize("n", [2, 40])
def test_steps_scale_with_the_gradient_down_to_zero(n):
    step = jax.jit(lambda g: sample_step(keys(1)[0], g, 3))
    g = jnp.asarray(normals(n))
    for scale in (0, 2.0**-80, 2.0**80):
        np.testing.assert_allclose(step(np.float32(scale) * g), scale * step(g), rtol=1e-5)
    assert np.all(np.isnan(step(g.at[0].set(np.nan))))


def test_compartments_have_their_dimensions_and_draws_of_their_own():
    params = {"a": jnp.asarray(normals(5, 4)), "b": jnp.asarray(normals(9))}
    law = scale_by_rbd_law(params, dim=7, compartments="leaf", allocate="split")
    states = LawState(jnp.arange(4000, dtype=jnp.uint32), jnp.zeros(4000, jnp.int32))
    u, _ = jax.jit(jax.vmap(lambda state: law.update(params, state)))(states)
    units = {name: leaf.ravel() / jnp.sum(leaf**2) for name, leaf in params.items()}
    parts = np.stack([u[name].reshape(4000, -1) @ unit for name, unit in units.items()], axis=1)
    got, expected = mean(parts), np.array([4 / 20, 3 / 9])
    np.testing.assert_array_less(np.abs(got.mean - expected), 5 * got.error)
    assert abs(np.corrcoef(parts.T)[0, 1]) < 5 / np.sqrt(4000)


def test_a_draw_is_a_function_of_seed_and_step():
    g, laws = gradient(), [scale_by_rbd_law(PARAMS, dim=5, seed=s) for s in (0, 0, 2**32 - 1)]
    update, seen = jax.jit(laws[0].update), []
    for law in laws:
        state = law.init(PARAMS)
        for _ in range(3):
            u, state = update(g, state)
            seen.append(np.asarray(u["b"]))
    np.testing.assert_array_equal(seen[:3], seen[3:6])
    assert len(np.unique(seen[3:], axis=0)) == 6
    with pytest.raises(InvalidInput, match="seed"):
        scale_by_rbd_law(PARAMS, dim=5, seed=-1)


def test_frozen_leaves_and_zero_gradients_stay_with_one_compilation_and_donated_state():
    label = lambda path, leaf: None if path == "b" else path  # noqa: E731
    optimizer = rbd_in_law(PARAMS, 0.1, dim=5, compartments=label, momentum=0.9)
    update, state = jax.jit(optimizer.update, donate_argnums=1), optimizer.init(PARAMS)
    for g in (jax.tree.map(jnp.zeros_like, PARAMS), gradient(), gradient(1)):
        u, state = update(g, state, PARAMS)
        moved = {name: bool(np.any(leaf != 0)) for name, leaf in u.items()}
        assert moved == {"a": bool(np.any(g["a"])), "b": False, "c": bool(np.any(g["c"]))}
    assert update._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state)} == {"uint32", "int32", "float32"}


def test_learning_rate_and_momentum_act_as_in_rbd():
    """Where the law is certain, one parameter, the steps are the same."""
    params, rate = jnp.zeros(1), optax.exponential_decay(0.5, 1, 0.7)
    one = rbd_in_law(params, rate, dim=1, momentum=0.9)
    other = rbd(params, rate, dim=1, momentum=0.9, basis="normal")
    states = one.init(params), other.init(params)
    updates = jax.jit(one.update), jax.jit(other.update)
    for i in range(4):
        g = jnp.asarray(normals(1, seed=i))
        pairs = [f(g, state, params) for f, state in zip(updates, states, strict=True)]
        (a, b), states = zip(*pairs, strict=True)
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_workers_take_the_step_of_their_mean_gradient():
    both = jnp.asarray(normals(2, 30))
    shared, alone = (
        rbd_in_law(both[0], 0.1, dim=5, exchange=Mean()),
        rbd_in_law(both[0], 0.1, dim=5),
    )
    state = alone.init(both[0])
    each, _ = jax.jit(jax.vmap(shared.update, (0, None), axis_name="data"))(both, state)
    expected, _ = jax.jit(alone.update)(both.mean(0), state)
    np.testing.assert_allclose(np.asarray(each), np.tile(expected, (2, 1)), rtol=1e-5, atol=1e-7)
