"""VGG with batch normalisation: Simonyan and Zisserman, arXiv 1409.1556."""

from __future__ import annotations

import jax
from jaxtyping import PRNGKeyArray

from subspace.errors import lookup
from subspace.models.blocks import ConvNorm, Plain, Series, check_sides, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import max_pool

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each of five stages, by depth."""

WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, depth: int = 11
) -> Series:
    """3×3 convolutions in five stages, each pooled 2×2, and hidden layers of 4,096 units twice.

    28,518,244 parameters with depth 11 and 100 classes of 32×32×3 images. No dropout.

    Args:
        in_shape: (height, width, channels), at least 32×32.
        classes: how many logits.
        key: from ``jax.random.key``.
        depth: 11, 13, 16 or 19.

    Raises:
        InvalidInput: there is no such depth, or the images are smaller.
    """
    height, width, channels = in_shape
    counts = lookup("depth", depth, STAGES)
    check_sides("vgg", in_shape, 32)
    keys = keys_of(key)
    blocks = []
    for count, outputs in zip(counts, WIDTHS, strict=True):
        for _ in range(count):
            blocks.append(ConvNorm(channels, outputs, 3, key=next(keys), bias=True))
            channels = outputs
        blocks.append(Plain(max_pool))
    pixels = (height // 32) * (width // 32)
    relu = Plain(jax.nn.relu)
    return Series(
        *blocks,
        Plain(_flat),
        Plain(Dense(pixels * channels, 4096, key=next(keys))),
        relu,
        Plain(Dense(4096, 4096, key=next(keys))),
        relu,
        Plain(Dense(4096, classes, key=next(keys))),
    )


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1)
