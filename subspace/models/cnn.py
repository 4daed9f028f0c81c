"""CNN: the small convolutional network."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.models.blocks import check_sides
from subspace.models.layers import Conv, Dense
from subspace.models.pool import max_pool


def _after_convolutions(side: int) -> int:
    """Pixels left of ``side`` by convolution, pooling, convolution, pooling, convolution."""
    return ((side - 2) // 2 - 2) // 2 - 2


SMALLEST_SIDE = next(side for side in range(1, 100) if _after_convolutions(side) >= 1)
"""The smallest height and width of image that leaves the last convolution an output (18)."""


class CNN(eqx.Module):
    """Three 3×3 convolutions of 32, 64, 64 channels and a hidden layer (arXiv 2011.04720).

    The first two are pooled 2×2. 93,322 parameters for ten classes of 28×28×1 images; 122,570 for
    32×32×3.
    """

    conv1: Conv
    conv2: Conv
    conv3: Conv
    hidden: Dense
    output: Dense

    def __init__(self, in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray):
        """A network for images of shape ``in_shape = (height, width, channels)``.

        Raises:
            InvalidInput: the images have fewer than ``SMALLEST_SIDE`` rows or columns.
        """
        height, width, channels = in_shape
        check_sides("cnn", in_shape, SMALLEST_SIDE)
        keys = jax.random.split(key, 5)
        self.conv1 = Conv(channels, 32, 3, key=keys[0])
        self.conv2 = Conv(32, 64, 3, key=keys[1])
        self.conv3 = Conv(64, 64, 3, key=keys[2])
        features = 64 * _after_convolutions(height) * _after_convolutions(width)
        self.hidden = Dense(features, 64, key=keys[3])
        self.output = Dense(64, classes, key=keys[4])

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, " classes"]:
        """The logits of one image."""
        # relu and max commute, and after pooling there are four times fewer values to rectify.
        x = jax.nn.relu(max_pool(self.conv1(x)))
        x = jax.nn.relu(max_pool(self.conv2(x)))
        x = jax.nn.relu(self.conv3(x))
        return self.output(jax.nn.relu(self.hidden(x.reshape(-1))))
