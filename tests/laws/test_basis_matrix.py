"""Every basis is one matrix P with unit columns: lift is P, project its transpose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import NAMES, ORTHONORMAL, PREFIXED, SIZES, basis, key, matrix, normals


def both_maps(name, n, z, v, seed=0):
    """(P z, Pᵀ v), for stacks of each."""

    def maps(key, z, v):
        lift = jax.vmap(lambda z: basis(name).lift(key, z, n))
        project = jax.vmap(lambda v: basis(name).project(key, v, z.shape[1]))
        return lift(z), project(v)

    return jax.tree.map(np.asarray, jax.jit(maps)(key(seed), z, v))


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_lift_and_project_are_one_matrix_with_unit_columns(name, n, d):
    # equality with the same matrix, on any vectors, is linearity and adjointness at once
    z, v = normals(2, d, seed=1), normals(2, n, seed=2)
    lifted, projected = both_maps(name, n, np.concatenate([np.eye(d, dtype=np.float32), z]), v)
    p = lifted[:d].T
    assert p.shape == (n, d)
    np.testing.assert_allclose(np.linalg.norm(p, axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(lifted[d:], z @ p.T, atol=1e-5)
    np.testing.assert_allclose(projected, v @ p, atol=1e-5)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_a_filter_is_a_projection_and_a_lift(name, n, d):
    v = normals(n, seed=3)

    @jax.jit
    def both_ways(key, v):
        z = basis(name).project(key, v, d)
        return (z, basis(name).lift(key, z, n)), basis(name).filter(key, v, d)

    for expected, got in zip(*both_ways(key(4), v), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_names_rows_that_differ_and_d_only_says_how_many(name):
    n, d = 50, 40
    few, many = matrix(name, n, 8), matrix(name, n, d)
    np.testing.assert_array_equal(many, matrix(name, n, d))
    if name in PREFIXED:
        np.testing.assert_array_equal(many[:, :8], few)
    same = np.all(np.isclose(many, matrix(name, n, d, seed=1)), axis=0)
    by_chance = name in ("coordinate", "countsketch")  # of 40 at 1 in 50 each
    assert same.sum() <= (5 if by_chance else 0)
    cosines = np.abs(many.T @ many) - np.eye(d)
    # of 780 pairs: at most 5 sd of 1/√50, or more where rows share a mean
    assert cosines.max() < (0.92 if name == "bernoulli_paper" else 5 / np.sqrt(n))


@pytest.mark.parametrize("n", [3, 1000, 65_537, 122_570])
@pytest.mark.parametrize("name", ORTHONORMAL)
def test_orthonormal_columns_at_awkward_sizes_and_d_near_n(name, n):
    d = n - 1
    z, v = normals(d, seed=1), normals(n, seed=2)

    @jax.jit
    def maps(key, z, v):
        lifted = basis(name).lift(key, z, n)
        return lifted, basis(name).project(key, v, d), basis(name).project(key, lifted, d)

    lifted, projected, back = jax.tree.map(np.asarray, maps(key(3), z, v))
    np.testing.assert_allclose(back, z, atol=1e-5)  # PᵀP = I, to the documented 1e-5
    scale = np.linalg.norm(z) * np.linalg.norm(v)
    assert abs(np.vdot(lifted, v) - np.vdot(z, projected)) < 1e-5 * scale


@pytest.mark.parametrize("n", [2, 3, 7, 1000])
def test_hadamard_with_all_its_rows_is_orthogonal(n):
    p = matrix("hadamard", n, n)
    np.testing.assert_allclose(p @ p.T, np.eye(n), atol=1e-5)


def test_hadamard_spreads_a_single_parameter_over_the_rows():
    n, one = 65_537, np.eye(1, 65_537, 40_000, dtype=np.float32)[0]
    project = jax.jit(basis("hadamard").project, static_argnums=2)
    z = np.asarray(project(key(0), jnp.asarray(one), n - 1))
    # of unit norm over 65,536 coordinates: flat would be 1/256 in each
    assert np.abs(z).max() < 20 / 256
    assert np.mean(z != 0) > 0.9
