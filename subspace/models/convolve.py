"""Convolutions, each in the way that is fast where it runs.

XLA's convolutions on a CPU are as fast as its products of matrices except for three kinds, which
are written as those or as sums of shifted views: kernels of one pixel (their gradient takes 3 to 8
times as long as a product's), tiny images with many channels (up to 60 times), and channels that
are convolved each by itself (20 to 100 times). ``benchmarks/models.py`` shows what it is worth.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from subspace.models.once import once
from subspace.models.pool import view

Pads = tuple[tuple[int, int], tuple[int, int]]

_TINY = 16  # pixels of output, up to which a product with all patches is faster on a CPU
_UNROLLED = 100  # rows times pixels of a kernel, up to which a gradient's rows aren't a loop


def convolve(
    x: Float[Array, "height width c"],
    weight: Float[Array, "h w i o"],
    stride: int,
    pads: Pads,
    groups: int = 1,
) -> Float[Array, "rows cols o"]:
    """The cross-correlation of one image with kernels.

    Args:
        x: one image.
        weight: kernels, of ``c / groups`` inputs.
        stride: pixels between neighbouring outputs.
        pads: zeros (above, below) and (left, right).
        groups: into how many the channels are divided.
    """
    height, width, inputs, outputs = weight.shape
    unpadded = not any((*pads[0], *pads[1]))
    if groups == 1 and height == width == 1 and unpadded:
        return x[::stride, ::stride] @ weight[0, 0]
    anywhere = functools.partial(_convolved, stride, pads, groups)
    on_cpu = anywhere
    if inputs == 1 and outputs == groups == x.shape[2]:
        on_cpu = functools.partial(_depthwise, stride, pads)
    elif groups == 1 and _outputs(x, weight, stride, pads) <= _TINY:
        on_cpu = functools.partial(_product, stride, pads)
    if on_cpu is anywhere:
        return anywhere(once(x), weight)
    return lax.platform_dependent(once(x), weight, cpu=on_cpu, default=anywhere)


def _convolved(stride: int, pads: Pads, groups: int, x: Array, weight: Array) -> Array:
    # `vmap` folds its axis into this batch axis of one, so a batch is one convolution.
    return lax.conv_general_dilated(
        x[None],
        weight,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )[0]


def _product(stride: int, pads: Pads, x: Array, weight: Array) -> Array:
    """With all patches, as one product of matrices."""
    height, width, _, outputs = weight.shape
    patches = jnp.concatenate(_views(stride, pads, x, height, width), axis=-1)
    return patches @ weight.reshape(-1, outputs)


def _outputs(x: Array, weight: Array, stride: int, pads: Pads) -> int:
    rows, columns = (
        (side + sum(pad) - size) // stride + 1
        for side, size, pad in zip(x.shape, weight.shape, pads, strict=False)
    )
    return rows * columns


def _views(stride: int, pads: Pads, x: Array, height: int, width: int) -> list[Array]:
    """What each pixel of a kernel sees, an image of the output's size each."""
    x = jnp.pad(x, (*pads, (0, 0)))
    return [
        view(view(x, 0, i, height, stride), 1, j, width, stride)
        for i in range(height)
        for j in range(width)
    ]


def _sum(stride: int, pads: Pads, x: Array, weight: Array) -> Array:
    """``Σ_ij x[stride·r + i, stride·c + j] weight[i, j]``, each channel by itself."""
    height, width, _, channels = weight.shape
    seen = _views(stride, pads, x, height, width)
    kernel = weight.reshape(-1, 1, 1, channels)
    return functools.reduce(jnp.add, [part * kernel[i] for i, part in enumerate(seen)])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _depthwise(stride: int, pads: Pads, x: Array, weight: Array) -> Array:
    return _sum(stride, pads, x, weight)


@_depthwise.defjvp
def _depthwise_jvp(
    stride: int, pads: Pads, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """So written that the kernel's gradient, which is its transpose, is fast.

    That adds up products row by row, and then the row: XLA's reductions of whole images take twice
    as long. Many rows are a loop, as XLA needs minutes to compile a NASNet with each written out.
    """
    (x, weight), (dx, dweight) = primals, tangents
    height, width, _, channels = weight.shape
    out = _depthwise(stride, pads, x, weight)
    padded = jnp.pad(x, (*pads, (0, 0)))
    seen = [view(padded, 0, i, height, stride) for i in range(height)]
    row = (out.shape[1], channels)
    kernel = [once(jnp.broadcast_to(pixel, row)) for pixel in dweight.reshape(-1, channels)]

    @functools.partial(jax.checkpoint, prevent_cse=False)  # else it keeps every pixel's view
    def change(seen: list[Array], kernel: list[Array]) -> Array:
        parts = [view(part, 0, j, width, stride) for part in seen for j in range(width)]
        return functools.reduce(jnp.add, [p * k for p, k in zip(parts, kernel, strict=True)])

    few = len(out) * len(kernel) <= _UNROLLED
    _, rows = lax.scan(lambda _, seen: (None, change(seen, kernel)), None, seen, unroll=few)
    return out, _sum(stride, pads, dx, weight) + rows
