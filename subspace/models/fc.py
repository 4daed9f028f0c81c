"""FC: the fully connected network."""

from __future__ import annotations

import math

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.models.layers import Dense


class FC(eqx.Module):
    """One hidden layer of 128 rectified units (Gressmann et al., arXiv 2011.04720).

    101,770 parameters for ten classes of 28×28×1 images; 394,634 for 32×32×3.
    """

    hidden: Dense
    output: Dense

    def __init__(self, in_shape: tuple[int, ...], classes: int, *, key: PRNGKeyArray):
        """A network for examples of shape ``in_shape``, such as ``(height, width, channels)``."""
        keys = jax.random.split(key)
        self.hidden = Dense(math.prod(in_shape), 128, key=keys[0])
        self.output = Dense(128, classes, key=keys[1])

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, " classes"]:
        """The logits of one example."""
        return self.output(jax.nn.relu(self.hidden(x.reshape(-1))))
