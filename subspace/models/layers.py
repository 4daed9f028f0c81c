"""The layers that the model zoo is made of: one example each, channels last, float32.

A layer sees one example, of shape ``(height, width, channels)``; ``jax.vmap`` makes it a batch.
Weights start Glorot-uniform and biases at zero, as in Gressmann et al., arXiv 2011.04720.
"""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.models.convolve import Pads, convolve


def _glorot_uniform(key: PRNGKeyArray, shape: tuple[int, ...], groups: int = 1) -> Array:
    """Uniform within ±√(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010, equation 16."""
    positions = math.prod(shape[:-2])
    limit = math.sqrt(6 / (positions * (shape[-2] + shape[-1] // groups)))
    # The numbers that `shape` itself would give, but XLA compiles a flat draw 5 times faster.
    flat = jax.random.uniform(key, (math.prod(shape),), jnp.float32, -limit, limit)
    return flat.reshape(shape)


def small(key: PRNGKeyArray, shape: tuple[int, int]) -> Float[Array, "rows columns"]:
    """Normal with deviation 0.02, as transformers start."""
    return 0.02 * jax.random.normal(key, shape, jnp.float32)


class Dense(eqx.Module):
    """An affine map ``x @ weight + bias``, of one vector or of one at each position.

    Attributes:
        weight: shape ``(inputs, outputs)``.
        bias: shape ``(outputs,)``.
    """

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray):
        self.weight = _glorot_uniform(key, (inputs, outputs))
        self.bias = jnp.zeros(outputs, jnp.float32)

    def __call__(self, x: Float[Array, "*positions inputs"]) -> Float[Array, "*positions outputs"]:
        return x @ self.weight + self.bias.reshape((1,) * (x.ndim - 1) + self.bias.shape)


Padding = Literal["VALID", "SAME"] | int | tuple[int, int]


class Conv(eqx.Module):
    """A two-dimensional convolution (cross-correlation) of one image, channels last.

    Attributes:
        weight: shape ``(rows, columns, inputs / groups, outputs)``.
        bias: shape ``(outputs,)``, or ``None``.
        stride: pixels between neighbouring outputs, the same in both directions.
        padding: ``"VALID"`` for none; ``"SAME"`` for zeros such that the output has
            ``ceil(height / stride)`` rows, the odd one of them at the bottom and right; a number
            of zeros on every side; or one for above and below and one for left and right.
        groups: into how many the channels are divided, each convolved by itself.
    """

    weight: Float[Array, "rows columns inputs outputs"]
    bias: Float[Array, " outputs"] | None
    stride: int = eqx.field(static=True)
    padding: Padding = eqx.field(static=True)
    groups: int = eqx.field(static=True, default=1)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | tuple[int, int],
        *,
        key: PRNGKeyArray,
        stride: int = 1,
        padding: Padding = "VALID",
        bias: bool = True,
        groups: int = 1,
    ):
        """A layer with kernels of ``size``² or, for a pair, rows times columns of pixels."""
        rows, columns = (size, size) if isinstance(size, int) else size
        self.weight = _glorot_uniform(key, (rows, columns, inputs // groups, outputs), groups)
        self.bias = jnp.zeros(outputs, jnp.float32) if bias else None
        self.stride = stride
        self.padding = padding
        self.groups = groups

    def pads(self, height: int, width: int) -> Pads:
        """The zeros put (above, below) and (left, right) of an image."""
        if isinstance(self.padding, str):
            strides = (self.stride, self.stride)
            size = self.weight.shape[:2]
            over, beside = jax.lax.padtype_to_pads((height, width), size, strides, self.padding)
            return over, beside
        both = self.padding
        down, along = (both, both) if isinstance(both, int) else both
        return (down, down), (along, along)

    def __call__(self, x: Float[Array, "height width inputs"]) -> Float[Array, "rows cols outputs"]:
        y = convolve(x, self.weight, self.stride, self.pads(*x.shape[:2]), self.groups)
        return y if self.bias is None else y + self.bias[None, None]
