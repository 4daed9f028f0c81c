"""GoogLeNet with batch normalisation: Szegedy et al., arXiv 1409.4842, for small images."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import PRNGKeyArray

from subspace.models.blocks import Branches, ConvNorm, Plain, Series, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import MaxPool, mean_pixel

# Channels of 1×1; 3×3 (reduced, then); 5×5 (reduced, then); after pooling.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def googlenet(in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray) -> Series:
    """Three 3×3 convolutions and three stages of modules with four branches, each after a pooling.

    Two 3×3 convolutions stand for the 5×5 one. 6,402,564 parameters for 100 classes. No dropout
    and no auxiliary outputs.
    """
    keys = keys_of(key)

    def conv(inputs: int, outputs: int, size: int, bias: bool = True) -> ConvNorm:
        return ConvNorm(inputs, outputs, size, key=next(keys), bias=bias)

    def module(inputs: int, one: int, few3: int, three: int, few5: int, five: int, pooled: int):
        return Branches(
            conv(inputs, one, 1),
            Series(conv(inputs, few3, 1), conv(few3, three, 3)),
            Series(conv(inputs, few5, 1), conv(few5, five, 3), conv(five, five, 3)),
            Series(Plain(MaxPool(3, 1, 1)), conv(inputs, pooled, 1)),
        )

    channels = 192
    widths = (in_shape[2], 64, 64, channels)
    blocks: list = [conv(a, b, 3, bias=False) for a, b in pairwise(widths)]
    for stage in STAGES:
        blocks.append(Plain(MaxPool(3, 2, 1)))
        for sizes in stage:
            blocks.append(module(channels, *sizes))
            one, _, three, _, five, pooled = sizes
            channels = one + three + five + pooled
    return Series(*blocks, Plain(mean_pixel), Plain(Dense(channels, classes, key=next(keys))))
