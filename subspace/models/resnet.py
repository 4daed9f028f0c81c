"""ResNet: residual networks for small images, with batch normalisation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.errors import InvalidInput
from subspace.models.blocks import ConvNorm, Residual, Series, shortcut
from subspace.models.layers import Dense

WIDTHS = (16, 32, 64)
"""Channels of the three stages. The second and third halve the height and the width."""


def residual_block(
    inputs: int, outputs: int, *, key: PRNGKeyArray, stride: int, project: bool
) -> Residual:
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution or the identity."""
    first, second, around = jax.random.split(key, 3)
    body = Series(
        ConvNorm(inputs, outputs, 3, key=first, stride=stride),
        ConvNorm(outputs, outputs, 3, key=second, activation=None),
    )
    return Residual(body, shortcut(inputs, outputs, stride, key=around) if project else None)


class ResNet(eqx.Module):
    """A residual network of ``6 * blocks + 2`` layers (He et al., arXiv 1512.03385).

    A 3×3 convolution of 16 channels, three stages of 16, 32, 64 channels with ``blocks`` blocks
    each, the mean over pixels, a dense layer. As in the reference code of Gressmann et al. (arXiv
    2011.04720), the first block of *every* stage, the first one too, has a projection shortcut. Ten
    classes of 32×32×3 images: 78,330 parameters with one block (ResNet-8), 467,194 with five
    (ResNet-32).

    Examples:
        ```python
        model, state = eqx.nn.make_with_state(ResNet)((32, 32, 3), 10, key=key)
        batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        logits, state = batched(images, state)
        ```
    """

    stem: ConvNorm
    blocks: tuple[Residual, ...]
    output: Dense

    def __init__(
        self, in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray, blocks: int = 1
    ):
        """A network for images of shape ``in_shape = (height, width, channels)``, of any size.

        Raises:
            InvalidInput: ``blocks`` is below 1.
        """
        if blocks < 1:
            raise InvalidInput("model", f"a ResNet needs blocks >= 1 in a stage, got {blocks}")
        stem_key, output_key, *keys = jax.random.split(key, 2 + len(WIDTHS) * blocks)
        self.stem = ConvNorm(in_shape[2], WIDTHS[0], 3, key=stem_key)
        layers, inputs = [], WIDTHS[0]
        for index, block_key in enumerate(keys):
            stage, position = divmod(index, blocks)
            first = position == 0
            stride = 2 if first and stage > 0 else 1
            outputs = WIDTHS[stage]
            layers.append(
                residual_block(inputs, outputs, key=block_key, stride=stride, project=first)
            )
            inputs = outputs
        self.blocks = tuple(layers)
        self.output = Dense(inputs, classes, key=output_key)

    def __call__(
        self, x: Float[Array, "height width channels"], state: eqx.nn.State
    ) -> tuple[Float[Array, " classes"], eqx.nn.State]:
        """The logits of one image, and the state with this batch in its running statistics."""
        x, state = self.stem(x, state)
        for block in self.blocks:
            x, state = block(x, state)
        return self.output(jnp.mean(x, axis=(0, 1))), state
