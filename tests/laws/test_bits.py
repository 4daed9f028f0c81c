"""The random integers that all bases are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import key, keys, mean

from subspace.basis.bits import flip, mix, permute, words

COUNT = 2**16


def signs(word):
    """±1 for each of the 32 bits, shape (32, n)."""
    bits = np.asarray(word)[None] >> np.arange(32, dtype=np.uint32)[:, None]
    return 1.0 - 2.0 * (bits & 1).astype(np.float32)


def scores(a, b):
    """Correlations of the rows of a with those of b, in standard deviations of independent ones."""
    return a @ b.T / np.sqrt(a.shape[1])


def test_mix_loses_nothing():
    low = np.arange(2**18, dtype=np.uint32)
    for some in (low, low << np.uint32(14)):
        assert len(np.unique(np.asarray(mix(jnp.asarray(some))))) == len(some)


def test_a_word_depends_on_its_index_and_not_on_how_many():
    np.testing.assert_array_equal(words(key(5), 100)[:7], words(key(5), 7))


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_bits_are_balanced_and_uncorrelated(seed):
    sign = signs(words(key(seed), COUNT))
    # 32 sums and 496 pairs in units of their standard deviation: 5 leaves 1 in 3,000
    assert np.abs(sign.sum(1) / np.sqrt(COUNT)).max() < 5
    assert np.abs(np.triu(scores(sign, sign), 1)).max() < 5


@pytest.mark.parametrize("lag", [1, 2, 64, 1000])
def test_words_at_a_distance_are_uncorrelated(lag):
    sign = signs(words(key(0), COUNT + lag))
    # 1,024 pairs of bits: 5.5 standard deviations leave 1 in 25,000
    assert np.abs(scores(sign[:, :-lag], sign[:, lag:])).max() < 5.5


def test_streams_of_neighbouring_steps_seeds_and_rows_are_uncorrelated():
    root = jax.random.fold_in(key(0), 0)
    others = [key(1), jax.random.fold_in(key(0), 1), jax.random.fold_in(root, 0)]
    others += [jax.random.fold_in(root, 1), jax.random.fold_in(key(1), 0)]
    sign = signs(words(root, COUNT))
    for other in others:
        assert np.abs(scores(sign, signs(words(other, COUNT)))).max() < 5.5


def test_flip_takes_half_of_the_signs_and_no_magnitudes():
    v = jnp.arange(1.0, COUNT + 1)
    flipped = np.asarray(flip(words(key(0), COUNT), v))
    np.testing.assert_array_equal(np.abs(flipped), v)
    assert abs(np.sign(flipped).sum()) < 5 * np.sqrt(COUNT)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 31, 1000, 65_537])
def test_permute_is_a_bijection(n):
    for seed in range(3):
        images = np.asarray(permute(key(seed), jnp.arange(n), n))
        np.testing.assert_array_equal(np.sort(images), np.arange(n))


@pytest.mark.parametrize("seed", [2535, 11_584, 34_871])
def test_permute_is_a_bijection_where_a_sum_of_words_could_overflow(seed):
    # a round word within 351 of 2³² used to wrap before the remainder was taken: a collision
    n = 122_570
    images = np.asarray(permute(key(seed), jnp.arange(n), n))
    assert len(np.unique(images)) == n


@pytest.mark.parametrize("n", [3, 5, 16])
def test_permute_sends_pairs_everywhere_equally_often(n):
    draws = 20_000
    draw = jax.jit(jax.vmap(lambda key: permute(key, jnp.arange(2), n)))
    first, second = np.asarray(draw(keys(draws))).T
    for images in (first, second):
        counts = np.bincount(images, minlength=n)
        sd = np.sqrt(draws / n * (1 - 1 / n))
        assert np.abs(counts - draws / n).max() < 5 * sd
    pairs = np.bincount(first * n + second, minlength=n * n)
    cells = n * (n - 1)
    assert np.all(pairs[:: n + 1] == 0)
    # χ² of `cells - 1` degrees of freedom: mean cells - 1, variance 2 (cells - 1)
    chi2 = np.sum((pairs - draws / cells) ** 2 / (draws / cells)) - n * draws / cells
    assert chi2 - (cells - 1) < 6 * np.sqrt(2 * (cells - 1))


def test_permute_carries_no_order_over():
    n = 1000
    draw = jax.jit(jax.vmap(lambda key: permute(key, jnp.arange(n), n)))
    images = np.asarray(draw(keys(400))) / n - 0.5
    ranks = np.arange(n) / n - 0.5
    # a rank correlation has standard deviation 1/√(n - 1), its mean over 400 draws 1/20 of that
    correlation = mean(images @ ranks / (n / 12))
    assert abs(correlation.mean) < 5 / np.sqrt(400 * (n - 1))
    assert correlation.error * np.sqrt(400 * (n - 1)) == pytest.approx(1, abs=0.2)
