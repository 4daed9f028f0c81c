"""The ResNets of CIFAR with shortcuts that have no parameters ("option A")."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.errors import InvalidInput
from subspace.models.blocks import ConvNorm, Plain, Residual, Series, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import mean_pixel

WIDTHS = (16, 32, 64)


def cifar_resnet(
    in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, blocks: int = 3
) -> Series:
    """A residual network of ``6 * blocks + 2`` layers (He et al., arXiv 1512.03385, option A).

    269,722 parameters with 3 blocks, ResNet-20, for ten classes of colour images. Where a stage
    halves the image, its shortcut takes every second pixel and adds channels of zeros.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        blocks: of each of three stages.

    Raises:
        InvalidInput: ``blocks`` is below 1.
    """
    if blocks < 1:
        raise InvalidInput("model", f"a ResNet needs blocks >= 1 in a stage, got {blocks}")
    keys = keys_of(key)
    inputs = WIDTHS[0]
    layers: list = [ConvNorm(in_shape[2], inputs, 3, key=next(keys), padding=1)]
    for outputs in WIDTHS:
        for _ in range(blocks):
            halve = outputs != inputs
            stride = 2 if halve else 1
            body = Series(
                ConvNorm(inputs, outputs, 3, key=next(keys), stride=stride, padding=1),
                ConvNorm(outputs, outputs, 3, key=next(keys), padding=1, activation=None),
            )
            layers.append(Residual(body, Plain(_halved) if halve else None))
            inputs = outputs
    return Series(*layers, Plain(mean_pixel), Plain(Dense(inputs, classes, key=next(keys))))


def _halved(x: Float[Array, "height width c"]) -> Float[Array, "rows cols c2"]:
    """Every second pixel, with half as many channels of zeros before and behind."""
    half = x.shape[2] // 2
    return jnp.pad(x[::2, ::2], ((0, 0), (0, 0), (half, half)))
