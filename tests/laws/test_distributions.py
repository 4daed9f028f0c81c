"""Entries of the dense bases have the distribution that the basis is named after."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from cases import key, matrix
from scipy import stats

from subspace.basis import Normal, Rademacher, Sparse, Uniform
from subspace.basis.bits import words

COUNT = 2**17


def raw(basis, seed=0):
    """Entries before normalisation, one array for each row of a block."""
    items = basis.rows(words(key(seed), COUNT)[None])
    return [np.asarray(row, np.float64) for item in items for row in item[0]]


@pytest.mark.parametrize("row", [0, 1])
def test_normal_entries_are_gaussian(row):
    entries = raw(Normal())[row]
    # standard errors of the sample moments of COUNT Gaussians, times 5: 1% of the variance
    error = 5 / np.sqrt(COUNT)
    assert abs(entries.mean()) < error
    assert abs(entries.var() - 1) < error * np.sqrt(2)
    assert abs(stats.skew(entries)) < error * np.sqrt(6)
    assert abs(stats.kurtosis(entries)) < error * np.sqrt(24)
    assert 4 < np.abs(entries).max() < 4.9  # the documented cutoff
    assert stats.kstest(entries, "norm").pvalue > 1e-5


def test_the_two_normal_rows_of_a_word_are_independent():
    a, b = raw(Normal())
    error = 5 / np.sqrt(COUNT)
    assert abs(np.mean(a * b)) < error
    assert abs(np.mean(a**2 * b**2) - 1) < error * np.sqrt(8)  # var(a²b²) = 9 - 1


def test_no_word_makes_a_normal_entry_of_zero():
    # a compartment of one parameter has rows of one entry, which must have a length
    angles = jnp.arange(2**16, dtype=jnp.uint32) << np.uint32(16)
    for radius in (0, 1, 2**16 - 1):
        for rows in Normal().rows((angles | np.uint32(radius))[:, None]):
            assert jnp.all(rows != 0)


@pytest.mark.parametrize("row", [0, 1])
def test_uniform_entries_are_uniform(row):
    entries = raw(Uniform())[row]
    assert np.abs(entries).max() <= 1
    error = 5 / np.sqrt(COUNT)
    assert abs(entries.mean()) < error * np.sqrt(1 / 3)
    assert abs(entries.var() - 1 / 3) < error * np.sqrt(1 / 5 - 1 / 9)
    assert stats.kstest(entries, stats.uniform(-1, 2).cdf).pvalue > 1e-5


def test_rademacher_rows_are_fair_independent_signs():
    rows = np.stack(raw(Rademacher())).astype(np.float32)
    assert len(rows) == 32
    assert set(np.unique(rows)) == {-1, 1}
    scores = rows @ rows.T / np.sqrt(COUNT)  # of 496 pairs, in standard deviations
    assert np.abs(np.triu(scores, 1)).max() < 5
    assert np.abs(rows.sum(1)).max() < 5 * np.sqrt(COUNT)


@pytest.mark.parametrize("basis", [Normal(), Uniform(), Rademacher()])
def test_entry_rms_is_that_of_the_raw_entries(basis):
    rms = np.sqrt(np.mean(np.square(raw(basis))))
    assert basis.entry_rms == pytest.approx(rms, rel=0.005)


def test_sparse_rows_have_sqrt_n_signs_at_distinct_places():
    n, d = 1000, 41
    p = matrix("sparse", n, d)
    entries = 32  # ⌈√1000⌉
    np.testing.assert_array_equal((p != 0).sum(0), entries)
    np.testing.assert_allclose(np.abs(p[p != 0]), entries**-0.5, rtol=1e-6)
    total = entries * d
    assert abs(np.sign(p).sum()) < 5 * np.sqrt(total)
    assert Sparse.entry_rms == 1
