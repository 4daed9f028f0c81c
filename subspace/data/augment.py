"""The papers' image pipeline, in pure JAX: ``prepare`` to evaluate, ``augment`` to train."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, Key, UInt8, UInt32

_COLOUR = 3  # channels
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels


def prepare(
    images: UInt8[Array, "batch h w c"], imagenet: bool = False
) -> Float32[Array, "batch h w c"]:
    """Pixels as a network takes them, without randomness.

    Divides by 255; a colour image (3 channels) is then standardised on its own,
    ``(x - mean) / max(std, 1/√N)`` with ``N = h w c``.

    Args:
        images: 0 to 255, or of floats, which stay as they are.
        imagenet: standardise colours by the means and deviations of ImageNet's channels instead, as
            networks trained elsewhere have it.

    Returns:
        Grayscale in [0, 1]; colour with mean 0 and standard deviation 1 (0 for a flat image).
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    scaled = images.astype(jnp.float32) / 255
    if images.shape[-1] != _COLOUR:
        return scaled
    if imagenet:
        means, deviations = (jnp.asarray(x, jnp.float32) for x in (_MEANS, _DEVIATIONS))
        return (scaled - means[None, None, None]) / deviations[None, None, None]
    return _standardise(scaled)


def augment(
    images: UInt8[Array, "batch h w c"], keys: Key[Array, " batch"], imagenet: bool = False
) -> Float32[Array, "batch h w c"]:
    """Randomly changed pixels to train on.

    Every image is padded with ``p = max(1, h // 8)`` zeros a side (3 for 28 pixels, 4 for 32) and
    cropped back at a random place. Then a grayscale image becomes ``x/255 + u`` with one
    ``u ~ U[-0.5, 0.5)`` an image, not clipped; a colour image is mirrored left to right half of
    the time and prepared as ``prepare`` does.

    An image's result depends on that image and its key alone, however the batch is sharded. (The
    keys have to be threefry, JAX's default: under ``vmap`` an ``rbg`` key isn't independent.)

    Args:
        images: 0 to 255.
        keys: one typed key an image, e.g. ``jax.random.split(key, batch)``.
        imagenet: as for `prepare`.

    Returns:
        As many images of the same shape.
    """
    # Two words are one threefry block a key. The first places the crop; the second is a coin or u.
    bits = jax.vmap(lambda key: jax.random.bits(key, (2,), jnp.uint32))(keys)
    cropped = _crop(images, bits[:, 0])
    if images.shape[-1] == _COLOUR:
        heads = (bits[:, 1] >> jnp.uint32(31)).astype(bool)
        mirrored = jnp.where(heads[:, None, None, None], cropped[:, :, ::-1], cropped)
        return prepare(mirrored, imagenet)
    brightness = (bits[:, 1] >> jnp.uint32(8)).astype(jnp.float32) * 2.0**-24 - 0.5
    return prepare(cropped) + brightness[:, None, None, None]


def _crop(
    images: UInt8[Array, "batch h w c"], bits: UInt32[Array, " batch"]
) -> UInt8[Array, "batch h w c"]:
    """Pad with zeros and crop back, at a row from the low and a column from the high 16 bits."""
    _, height, width, channels = images.shape
    pad = max(1, height // 8)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows = _below(2 * pad + 1, bits & jnp.uint32(0xFFFF))
    columns = _below(2 * pad + 1, bits >> jnp.uint32(16))

    def window(image: Array, row: Array, column: Array) -> Array:
        return jax.lax.dynamic_slice(image, (row, column, 0), (height, width, channels))

    # Fastest of four on a CPU: a gather by index takes 1.2 times as long, one-hot products 3.5.
    return jax.vmap(window)(padded, rows, columns)


def _below(bound: int, bits: UInt32[Array, " batch"]) -> Int32[Array, " batch"]:
    """Whole numbers below ``bound`` from 16 random bits; uneven by at most ``bound / 2**16``."""
    return ((bits * jnp.uint32(bound)) >> jnp.uint32(16)).astype(jnp.int32)


def _standardise(images: Float32[Array, "batch h w c"]) -> Float32[Array, "batch h w c"]:
    pixels = images[0].size
    centred = images - images.mean(axis=(1, 2, 3), keepdims=True)
    deviation = jnp.sqrt((centred * centred).mean(axis=(1, 2, 3), keepdims=True))
    return centred / jnp.maximum(deviation, pixels**-0.5)
