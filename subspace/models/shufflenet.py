"""ShuffleNet-v2: Ma et al., arXiv 1807.11164, for small images."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.errors import lookup
from subspace.models.blocks import Branches, ConvNorm, Plain, Series, keys_of
from subspace.models.layers import Dense
from subspace.models.once import once
from subspace.models.pool import mean_pixel

WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
"""Channels of three stages and of the last convolution, by width."""

REPEATS = (3, 7, 3)


def shufflenet_v2(
    in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, width: float = 1.0
) -> Series:
    """Units that change half of the channels and shuffle them; three stages halve the image.

    1,360,896 parameters for 100 classes and ``width`` 1.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        width: 0.5, 1, 1.5 or 2.

    Raises:
        InvalidInput: there is no such width.
    """
    *stages, final_width = lookup("width", width, WIDTHS)
    keys = keys_of(key)

    def conv(inputs: int, outputs: int) -> ConvNorm:
        return ConvNorm(inputs, outputs, 1, key=next(keys), bias=True)

    def depth(channels: int, stride: int = 1) -> ConvNorm:
        return ConvNorm(
            channels,
            channels,
            3,
            key=next(keys),
            stride=stride,
            padding=1,
            bias=True,
            groups=channels,
            activation=None,
        )

    def halving(inputs: int, outputs: int) -> Branches:
        half = outputs // 2
        return Branches(
            Series(depth(inputs, 2), conv(inputs, half)),
            Series(conv(inputs, inputs), depth(inputs, 2), conv(inputs, half)),
        )

    channels = 24
    stem = ConvNorm(in_shape[2], channels, 3, key=next(keys), bias=True, activation=None)
    blocks: list = [stem]
    for outputs, repeats in zip(stages, REPEATS, strict=True):
        blocks += [halving(channels, outputs), Plain(_shuffled)]
        half = outputs // 2
        for _ in range(repeats):
            body = Series(conv(half, half), depth(half), conv(half, half))
            blocks += [_SecondHalf(body), Plain(_shuffled)]
        channels = outputs
    blocks += [conv(channels, final_width), Plain(mean_pixel)]
    return Series(*blocks, Plain(Dense(final_width, classes, key=next(keys))))


@final
class _SecondHalf(eqx.Module):
    """A block of the second half of the channels; the first half stays."""

    body: Series

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        kept, changed = jnp.split(x, 2, axis=-1)
        changed, state = self.body(changed, state)
        return once(jnp.concatenate([kept, changed], axis=-1)), state


def _shuffled(x: Float[Array, "height width c"]) -> Float[Array, "height width c"]:
    """The two halves of the channels taken in turn."""
    height, width, channels = x.shape
    halves = x.reshape(height, width, 2, channels // 2)
    return jax.lax.transpose(halves, (0, 1, 3, 2)).reshape(x.shape)
