"""Over keys, E[P Pᵀ] = (d/n) I: the subspace favours no parameter and no direction."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cases import ZERO_MEAN, basis, keys, matrices, matrix, mean, normals

N, D, DRAWS = 10, 4, 20_000


@pytest.mark.parametrize("name", ZERO_MEAN)
def test_expected_projection_is_a_multiple_of_the_identity(name):
    p = matrices(name, N, D, DRAWS)
    np.testing.assert_allclose(np.linalg.norm(p, axis=1), 1, atol=1e-6)
    got = mean(p @ p.transpose(0, 2, 1))
    # 100 entries at 5 standard errors; the largest, of a coordinate's, is 0.9% of d/n
    assert got.error.max() < 0.01 * D / N
    np.testing.assert_array_less(np.abs(got.mean - D / N * np.eye(N)), 5 * got.error + 1e-6)


def test_bernoulli_paper_favours_the_constant_vector():
    p = matrices("bernoulli_paper", N, D, DRAWS)
    constant = mean(np.sum(p.sum(1) ** 2, axis=1) / N)
    # entries have mean -0.5 and mean square 1.25: each row holds at least a fifth of it
    assert constant.mean > 2 * D / N
    assert constant.mean - 5 * constant.error > 0.2 * D


def test_bernoulli_paper_entries_are_of_the_two_values_of_the_reference_code():
    p = matrix("bernoulli_paper", 1000, 3)
    for column in p.T:
        low, high = np.unique(column)
        assert low / high == pytest.approx(-3, rel=1e-5)


def test_coordinate_takes_every_pair_of_parameters_equally_often():
    taken = np.abs(matrices("coordinate", N, D, DRAWS)).sum(2)
    assert set(np.unique(taken)) == {0, 1}
    assert np.all(taken.sum(1) == D)
    pairs = mean(taken[:, :, None] * taken[:, None, :])
    off = ~np.eye(N, dtype=bool)
    expected = D * (D - 1) / (N * (N - 1))
    # 90 pairs at 5 standard errors, each 1.8% of what is expected
    np.testing.assert_array_less(np.abs(pairs.mean - expected)[off], 5 * pairs.error[off])


@pytest.mark.parametrize("n", [1000, 769])
def test_hadamard_measures_every_vector_alike(n):
    """‖Pᵀg‖² is (d/n)‖g‖² on average, for the vectors that a transform could treat specially."""
    d, draws = 41, 600
    spike, late = np.eye(n, dtype=np.float32)[[0, n - 1]]
    waves = (-1.0) ** np.arange(n), np.ones(n), np.arange(n) < n / 2
    vectors = np.stack([spike, late, *waves, normals(n)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    @jax.jit
    def energy(keys):
        project = jax.vmap(lambda key, v: basis("hadamard").project(key, v, d), (None, 0))
        return jax.vmap(lambda key: (project(key, vectors) ** 2).sum(1))(keys)

    got = mean(energy(keys(draws)))
    # six vectors at 5 standard errors, of which a flat one has √(2/41/600) = 0.9%
    assert got.error.max() < 0.03 * d / n
    np.testing.assert_array_less(np.abs(got.mean - d / n), 5 * got.error)
