"""Xception: Chollet, arXiv 1610.02357, for small images."""

from __future__ import annotations

import jax
from jaxtyping import PRNGKeyArray

from subspace.models.blocks import ConvNorm, Plain, Residual, Series, keys_of, shortcut
from subspace.models.layers import Conv, Dense
from subspace.models.pool import MaxPool, mean_pixel


def xception(
    in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, repeats: int = 8
) -> Series:
    """Separable convolutions in residual blocks; the stem keeps the image's size.

    21,013,988 parameters for 100 classes and ``repeats`` 8.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        repeats: how often the middle block of 728 channels is repeated.
    """
    keys = keys_of(key)
    relu = Plain(jax.nn.relu)

    def separable(inputs: int, outputs: int) -> Series:
        depth = Conv(inputs, inputs, 3, key=next(keys), padding="SAME", bias=False, groups=inputs)
        mix = ConvNorm(inputs, outputs, 1, key=next(keys), activation=None)
        return Series(Plain(depth), mix)

    def around(inputs: int, outputs: int, stride: int) -> ConvNorm:
        return shortcut(inputs, outputs, stride, key=next(keys), bias=True)

    def entry(inputs: int, outputs: int, stride: int, *first: Plain) -> Residual:
        two = (separable(inputs, outputs), relu, separable(outputs, outputs))
        pool = Plain(MaxPool(3, stride, 1))
        return Residual(Series(*first, *two, pool), around(inputs, outputs, stride), None)

    def middle() -> Residual:
        three = [block for _ in range(3) for block in (relu, separable(728, 728))]
        return Residual(Series(*three), activation=None)

    last = Series(relu, separable(728, 728), relu, separable(728, 1024), Plain(MaxPool(3, 2, 1)))
    return Series(
        ConvNorm(in_shape[2], 32, 3, key=next(keys)),
        ConvNorm(32, 64, 3, key=next(keys)),
        entry(64, 128, 2),
        entry(128, 256, 2, relu),
        entry(256, 728, 1, relu),
        *(middle() for _ in range(repeats)),
        Residual(last, around(728, 1024, 2), None),
        separable(1024, 1536),
        relu,
        separable(1536, 2048),
        relu,
        Plain(mean_pixel),
        Plain(Dense(2048, classes, key=next(keys))),
    )
