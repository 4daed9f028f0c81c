"""A leaf is folded into the same cells however a platform does it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import key, normals

from subspace.basis import cells as module
from subspace.basis.base import Block
from subspace.basis.cells import fold, grid_of, signed, unfold

SHAPES = [(), (7,), (5000,), (49, 128), (784, 12), (9, 30, 64), (3, 3, 61, 2), (100_003,)]


def folded(shape, d=3):
    x, block = jnp.asarray(normals(*shape)), Block.all_of(shape)
    grid = grid_of(shape, d)
    return x, block, grid, fold(key(1), x, block, 5, grid).ravel()


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_are_sums_of_signed_entries_and_unfolding_is_the_transpose(shape):
    x, block, grid, got = folded(shape)
    numbers = jnp.arange(got.size, dtype=jnp.float32).reshape(grid.shape)
    places = np.asarray(unfold(numbers, block, grid)).ravel().astype(int)
    signs = np.asarray(signed(key(1), jnp.ones(shape), block, 5)).ravel()
    expected = np.bincount(places, weights=signs * np.ravel(x), minlength=got.size)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    counts = np.bincount(places, minlength=got.size)
    np.testing.assert_array_equal(counts, module.counts_of(shape, grid))
    assert got.size >= min(x.size, 8 * 3)


@pytest.mark.parametrize("shape", [(100_003,), (128_000,), (784, 12)])
@pytest.mark.parametrize("platform", ["cpu", "other"])
def test_long_leaves_have_the_same_cells(shape, platform, monkeypatch):
    _, block, grid, expected = folded(shape)
    again = unfold(expected.reshape(grid.shape), block, grid)
    monkeypatch.setattr(module, "_LONG", 1)
    if platform == "other":

        def elsewhere(*args, default, **of_platforms):
            return default(*args)

        monkeypatch.setattr(module.lax, "platform_dependent", elsewhere)
    np.testing.assert_allclose(folded(shape)[3], expected, atol=1e-4)
    np.testing.assert_array_equal(unfold(expected.reshape(grid.shape), block, grid), again)


def test_signs_of_a_compartment_differ_from_leaf_to_leaf():
    ones = jnp.ones(64)
    block = Block.all_of((64,))
    first, second = (signed(key(0), ones, block, first) for first in (0, 64))
    both = signed(key(0), jnp.ones(128), Block.all_of((128,)), 0)
    np.testing.assert_array_equal(jnp.concatenate([first, second]), both)
    assert not jnp.array_equal(first, second)


def test_few_cells_where_a_leaf_is_large():
    grid = grid_of((100_000_000,), 256)
    assert jax.eval_shape(lambda: jnp.zeros(grid.shape)).size <= 65_536
