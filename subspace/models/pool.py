"""Pooling of one image, channels last.

Written as maxima and sums of shifted views, whose gradients are faster on a CPU than those of
``reduce_window``. Equal largest values share the gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "height width channels"]) -> Float[Array, "rows cols channels"]:
    """The largest value of each 2×2 square; an odd last row or column is dropped.

    Written as a reshape, whose gradient is faster on a CPU than that of ``reduce_window``. Equal
    largest values share the gradient equally.
    """
    rows, cols, channels = x.shape[0] // 2, x.shape[1] // 2, x.shape[2]
    squares = x[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2, channels)
    return squares.max(axis=(1, 3))


@final
class MaxPool(eqx.Module):
    """The largest value of each square of ``size``² pixels, ``stride`` apart.

    ``padding`` pixels on each side count as lower than any other.
    """

    size: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True, default=0)

    def __call__(self, x: Float[Array, "height width c"]) -> Float[Array, "rows cols c"]:
        if self.size == self.stride == 2 and not self.padding:
            return max_pool(x)
        return _pooled(x, jnp.maximum, self.size, self.stride, self.padding, float("-inf"))


@final
class MeanPool(eqx.Module):
    """The mean of each square of ``size``² pixels, ``stride`` apart.

    ``padding`` pixels on each side are zeros and counted, as PyTorch's ``AvgPool2d`` does.
    """

    size: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True, default=0)

    def __call__(self, x: Float[Array, "height width c"]) -> Float[Array, "rows cols c"]:
        total = _pooled(x, jnp.add, self.size, self.stride, self.padding, 0.0)
        return total / self.size**2


def mean_pixel(x: Float[Array, "height width c"]) -> Float[Array, " c"]:
    """The mean over all pixels."""
    return jnp.mean(x, axis=(0, 1))


def _pooled(
    x: Float[Array, "height width c"],
    combine: Callable[[Array, Array], Array],
    size: int,
    stride: int,
    padding: int,
    outside: float,
) -> Float[Array, "rows cols c"]:
    """``combine`` over rows, then over columns: 2 size operations instead of size²."""
    pads = ((padding, padding), (padding, padding), (0, 0))
    x = jnp.pad(x, pads, constant_values=outside) if padding else x
    for axis in (0, 1):
        x = functools.reduce(combine, (view(x, axis, i, size, stride) for i in range(size)))
    return x


def view(x: Array, axis: Literal[0, 1], start: int, size: int, stride: int) -> Array:
    """Along an axis, what the place ``start`` of each window of ``size`` sees."""
    steps = (x.shape[axis] - size) // stride
    places = slice(start, start + steps * stride + 1, stride)
    return x[places] if axis == 0 else x[:, places]
