"""EfficientNet: Tan and Le, arXiv 1905.11946, for small images."""

from __future__ import annotations

import math

import jax
from jaxtyping import PRNGKeyArray

from subspace.models.blocks import ConvNorm, Excite, Plain, Residual, Series, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import mean_pixel

# Channels, expansion, kernel, stride and repeats of each stage.
STAGES = (
    (16, 1, 3, 1, 1),
    (24, 6, 3, 2, 2),
    (40, 6, 5, 2, 2),
    (80, 6, 3, 2, 3),
    (112, 6, 5, 1, 3),
    (192, 6, 5, 1, 4),
    (320, 6, 3, 1, 1),
)


def efficientnet(
    in_shape: tuple[int, int, int],
    classes: int,
    *,
    key: PRNGKeyArray,
    width: float = 1.0,
    depth: float = 1.0,
) -> Series:
    """Inverted bottlenecks with channel attention, in stages that halve the image three times.

    4,135,648 parameters for 100 classes with the defaults, EfficientNet-B0. Neither dropout nor
    stochastic depth.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        width: by which channels are multiplied, then rounded to a multiple of 8.
        depth: by which repeats are multiplied, then rounded up.
    """
    keys = keys_of(key)

    def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> ConvNorm:
        return ConvNorm(
            inputs,
            outputs,
            size,
            key=next(keys),
            stride=stride,
            groups=groups,
            activation=jax.nn.silu,
        )

    def bottleneck(inputs: int, outputs: int, expansion: int, size: int, stride: int):
        inner = expansion * inputs
        attention = Excite(inner, inputs // 4, key=next(keys), activation=jax.nn.silu)
        body = Series(
            *([conv(inputs, inner, 1)] if expansion > 1 else []),
            conv(inner, inner, size, stride, groups=inner),
            Plain(attention),
            ConvNorm(inner, outputs, 1, key=next(keys), activation=None),
        )
        same = stride == 1 and inputs == outputs
        return Residual(body, activation=None) if same else body

    channels = _rounded(32 * width)
    blocks: list = [conv(in_shape[2], channels, 3)]
    for size, expansion, kernel, first, repeats in STAGES:
        outputs = _rounded(size * width)
        for index in range(math.ceil(repeats * depth)):
            stride = 1 if index else first
            blocks.append(bottleneck(channels, outputs, expansion, kernel, stride))
            channels = outputs
    last = _rounded(1280 * width)
    blocks += [conv(channels, last, 1), Plain(mean_pixel)]
    return Series(*blocks, Plain(Dense(last, classes, key=next(keys))))


def _rounded(channels: float) -> int:
    """To a multiple of 8, not below nine tenths of it."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8
