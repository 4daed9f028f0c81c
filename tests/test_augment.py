"""``prepare`` and ``augment`` against the papers' pipeline written out in NumPy."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_images

from subspace.data import augment as pipeline

prepare, augment = jax.jit(pipeline.prepare), jax.jit(pipeline.augment)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def images(size, shape, seed=0):
    return jnp.asarray(random_images(size, shape, seed=seed)[0])


def keys(size, seed=0):
    return jax.random.split(jax.random.key(seed), size)


def crops(image, pad):
    """Every window of the zero-padded image, ``((2 pad + 1)**2, H, W, C)``."""
    height, width, _ = image.shape
    padded = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)))
    places = product(range(2 * pad + 1), repeat=2)
    return np.stack([padded[i : i + height, j : j + width] for i, j in places])


def standardise(image):
    scaled = image.astype(np.float64) / 255
    return (scaled - scaled.mean()) / max(scaled.std(), 1 / np.sqrt(scaled.size))


def test_grayscale_is_scaled_to_the_unit_interval():
    batch = images(3, (8, 8, 1))
    np.testing.assert_allclose(prepare(batch), np.asarray(batch) / 255, rtol=1e-6)


def test_each_colour_image_is_standardised_on_its_own():
    batch = images(3, (8, 10, 3))
    expected = np.stack([standardise(image) for image in np.asarray(batch)])
    np.testing.assert_allclose(prepare(batch), expected, atol=2e-6)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_colour_image_becomes_zero(value):
    flat = jnp.full((1, 32, 32, 3), value, jnp.uint8)
    np.testing.assert_allclose(prepare(flat), np.zeros(flat.shape), atol=1e-4)


def test_a_nearly_flat_colour_image_is_divided_by_at_least_the_floor():
    nearly = jnp.full((1, 32, 32, 3), 100, jnp.uint8).at[0, 0, 0, 0].set(101)
    expected = standardise(np.asarray(nearly[0]))
    # the image less its mean keeps few digits, and they are divided by a small floor
    np.testing.assert_allclose(prepare(nearly)[0], expected, atol=5e-4)


@pytest.mark.parametrize(("shape", "pad"), [((32, 32, 3), 4), ((8, 12, 3), 1), ((5, 4, 3), 1)])
def test_a_colour_image_is_a_crop_perhaps_mirrored_then_standardised(shape, pad):
    batch = images(4, shape)
    for image, result in zip(batch, augment(batch, keys(4)), strict=True):
        windows = crops(image, pad)
        candidates = np.stack([standardise(w) for w in [*windows, *windows[:, :, ::-1]]])
        distance = np.abs(candidates - np.asarray(result)).max(axis=(1, 2, 3))
        assert distance.min() < 1e-5


@pytest.mark.parametrize(("shape", "pad"), [((28, 28, 1), 3), ((8, 8, 1), 1), ((4, 6, 1), 1)])
def test_a_grayscale_image_is_a_crop_plus_one_brightness(shape, pad):
    batch = images(4, shape)
    for image, result in zip(batch, augment(batch, keys(4)), strict=True):
        difference = np.asarray(result) - crops(image, pad) / 255
        spread = np.ptp(difference, axis=(1, 2, 3))
        brightness = difference[spread.argmin()].mean()
        assert spread.min() < 1e-6
        assert -0.5 <= brightness < 0.5


def test_every_place_is_equally_likely():
    size, pad = 4900, 3
    spot = jnp.zeros((size, 28, 28, 1), jnp.uint8).at[:, 14, 14].set(255)
    places = np.asarray(augment(spot, keys(size))).reshape(size, -1).argmax(axis=1)
    rows, columns = places // 28 - 14 + pad, places % 28 - 14 + pad
    counts = np.bincount(rows * (2 * pad + 1) + columns, minlength=49)
    assert counts.shape == (49,)
    # χ² with 48 degrees of freedom exceeds 93 once in 10,000 draws of the seed.
    assert ((counts - 100) ** 2 / 100).sum() < 93


def test_brightness_is_uniform_and_not_clipped():
    size = 4000
    result = np.asarray(augment(jnp.zeros((size, 8, 8, 1), jnp.uint8), keys(size)))
    brightness = np.sort(result[:, 0, 0, 0])
    np.testing.assert_allclose(brightness, np.linspace(-0.5, 0.5, size), atol=0.035)


def test_half_of_the_colour_images_are_mirrored():
    size = 4000
    left_half_lit = jnp.zeros((size, 32, 32, 3), jnp.uint8).at[:, :, :16].set(255)
    result = augment(left_half_lit, keys(size))
    # Columns 10 and 22 stay on their sides of the edge, wherever the crop is.
    mirrored = result[:, 16, 22, 0] > result[:, 16, 10, 0]
    assert abs(float(mirrored.mean()) - 0.5) < 0.035


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_an_image_depends_on_its_own_key_alone(shape):
    batch, each = images(6, shape), keys(6)
    whole = augment(batch, each)
    halves = [augment(batch[half], each[half]) for half in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(whole, np.concatenate(halves), atol=1e-5)
    backwards = augment(batch[::-1], each[::-1])[::-1]
    np.testing.assert_allclose(whole, backwards, atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_the_key_decides(shape):
    batch = images(8, shape)
    first, again, other = (augment(batch, keys(8, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (9, 7, 3)])
def test_shape_and_type(shape):
    batch = jax.ShapeDtypeStruct((2, *shape), jnp.uint8)
    for result in (jax.eval_shape(prepare, batch), jax.eval_shape(augment, batch, keys(2))):
        assert result.shape == batch.shape
        assert result.dtype == jnp.float32
