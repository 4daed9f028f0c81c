"""MobileNet: Howard et al., arXiv 1704.04861, for small images."""

from __future__ import annotations

from jaxtyping import PRNGKeyArray

from subspace.models.blocks import ConvNorm, Plain, Series, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import mean_pixel

STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
"""Channels and stride of each separable convolution; two more, of 1,024 channels, follow."""


def mobilenet(
    in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, width: float = 1.0
) -> Series:
    """A convolution and 13 separable ones, whose first stage keeps the size of the image.

    3,315,428 parameters for 100 classes and ``width`` 1.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        width: by which all channels are multiplied.
    """
    keys = keys_of(key)
    channels = int(32 * width)
    blocks = [ConvNorm(in_shape[2], channels, 3, key=next(keys), padding=1)]
    for size, stride in (*STAGES, (1024, 2), (1024, 1)):
        outputs = int(size * width)
        depth = ConvNorm(
            channels, channels, 3, key=next(keys), stride=stride, padding=1, groups=channels
        )
        blocks += [depth, ConvNorm(channels, outputs, 1, key=next(keys), bias=True)]
        channels = outputs
    return Series(*blocks, Plain(mean_pixel), Plain(Dense(channels, classes, key=next(keys))))
