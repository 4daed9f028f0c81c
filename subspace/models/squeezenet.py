"""SqueezeNet with batch normalisation: Iandola et al., arXiv 1602.07360, for small images."""

from __future__ import annotations

from jaxtyping import PRNGKeyArray

from subspace.models.blocks import Branches, ConvNorm, Plain, Residual, Series, keys_of
from subspace.models.layers import Conv
from subspace.models.pool import max_pool, mean_pixel


def squeezenet(in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray) -> Series:
    """Eight modules that squeeze the channels and expand them, with simple bypasses.

    781,156 parameters for 100 classes. No dropout.
    """
    keys = keys_of(key)

    def conv(inputs: int, outputs: int, size: int) -> ConvNorm:
        return ConvNorm(inputs, outputs, size, key=next(keys), bias=True)

    def fire(inputs: int, outputs: int) -> Series:
        squeezed, half = outputs // 8, outputs // 2
        return Series(
            conv(inputs, squeezed, 1), Branches(conv(squeezed, half, 1), conv(squeezed, half, 3))
        )

    def bypassed(channels: int) -> Residual:
        return Residual(fire(channels, channels), activation=None)

    pool = Plain(max_pool)
    return Series(
        conv(in_shape[2], 96, 3),
        pool,
        fire(96, 128),
        bypassed(128),
        fire(128, 256),
        pool,
        bypassed(256),
        fire(256, 384),
        bypassed(384),
        fire(384, 512),
        pool,
        fire(512, 512),
        Plain(Conv(512, classes, 1, key=next(keys))),
        Plain(mean_pixel),
    )
