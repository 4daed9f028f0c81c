"""DenseNet with bottlenecks and compression: Huang et al., arXiv 1608.06993, for small images."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jaxtyping import PRNGKeyArray

from subspace.models.blocks import Branches, Plain, Series, keys_of
from subspace.models.layers import Conv, Dense
from subspace.models.norm import BatchNorm
from subspace.models.pool import MeanPool, mean_pixel


def densenet(
    in_shape: tuple[int, int, int],
    classes: int,
    *,
    key: PRNGKeyArray,
    layers: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
) -> Series:
    """Layers that see the channels of all before them, in stages that halve the image.

    7,048,548 parameters for 100 classes with DenseNet-121's layers and growth, the defaults.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        layers: of each stage.
        growth: channels that a layer adds.
    """
    keys = keys_of(key)
    relu = Plain(jax.nn.relu)

    def conv(inputs: int, outputs: int, size: int) -> Plain:
        return Plain(Conv(inputs, outputs, size, key=next(keys), padding="SAME", bias=False))

    def layer(inputs: int) -> Branches:
        inner = 4 * growth
        reduce = (BatchNorm.of(inputs), relu, conv(inputs, inner, 1))
        extend = (BatchNorm.of(inner), relu, conv(inner, growth, 3))
        return Branches(Series(), Series(*reduce, *extend))

    channels = 2 * growth
    blocks: list = [conv(in_shape[2], channels, 3)]
    for stage, count in enumerate(layers):
        if stage:
            halved = channels // 2
            pool = Plain(MeanPool(2, 2))
            blocks += [BatchNorm.of(channels), conv(channels, halved, 1), pool]
            channels = halved
        for _ in range(count):
            blocks.append(layer(channels))
            channels += growth
    output = Dense(channels, classes, key=next(keys))
    return Series(*blocks, BatchNorm.of(channels), relu, Plain(mean_pixel), Plain(output))
