"""Inception-v3: Szegedy et al., arXiv 1512.00567, for small images."""

from __future__ import annotations

from typing import Any

from jaxtyping import PRNGKeyArray

from subspace.models.blocks import Branches, ConvNorm, Plain, Series, check_sides, keys_of
from subspace.models.layers import Dense
from subspace.models.pool import MaxPool, MeanPool, mean_pixel


def inception_v3(in_shape: tuple[int, int, int], classes: int, *, key: PRNGKeyArray) -> Series:
    """Five convolutions that keep the image's size, and eleven modules that shrink it twice.

    22,318,148 parameters for 100 classes. No dropout and no auxiliary output.

    Raises:
        InvalidInput: the images have fewer than 17 rows or columns.
    """
    check_sides("inception_v3", in_shape, 17)
    keys = keys_of(key)

    def conv(inputs: int, outputs: int, size: Any, stride: int = 1, padding: Any = "SAME"):
        return ConvNorm(inputs, outputs, size, key=next(keys), stride=stride, padding=padding)

    def along(inputs: int, outputs: int, *sizes: Any, inner: int | None = None) -> Series:
        """Convolutions of these sizes, with ``inner`` channels in between."""
        widths = [inputs, *[inner or outputs] * (len(sizes) - 1), outputs]
        pairs = zip(widths, widths[1:], sizes, strict=False)
        return Series(*(conv(a, b, size) for a, b, size in pairs))

    mean = Plain(MeanPool(3, 1, 1))

    def square(inputs: int, pooled: int) -> Branches:
        return Branches(
            conv(inputs, 64, 1),
            Series(conv(inputs, 48, 1), conv(48, 64, 5)),
            Series(conv(inputs, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
            Series(mean, conv(inputs, pooled, 3)),
        )

    def factored(inputs: int, inner: int) -> Branches:
        down, across = (7, 1), (1, 7)
        return Branches(
            conv(inputs, 192, 1),
            along(inputs, 192, 1, down, across, inner=inner),
            along(inputs, 192, 1, down, across, down, across, inner=inner),
            Series(mean, conv(inputs, 192, 1)),
        )

    def widened(inputs: int) -> Branches:
        def both() -> Branches:
            return Branches(conv(384, 384, (1, 3)), conv(384, 384, (3, 1)))

        return Branches(
            conv(inputs, 320, 1),
            Series(conv(inputs, 384, 1), both()),
            Series(conv(inputs, 448, 1), conv(448, 384, 3), both()),
            Series(mean, conv(inputs, 192, 1)),
        )

    def shrunk(inputs: int, outputs: int) -> ConvNorm:
        return conv(inputs, outputs, 3, stride=2, padding="VALID")

    return Series(
        conv(in_shape[2], 32, 3),
        conv(32, 32, 3),
        conv(32, 64, 3),
        conv(64, 80, 1),
        conv(80, 192, 3, padding="VALID"),
        square(192, 32),
        square(256, 64),
        square(288, 64),
        Branches(
            shrunk(288, 384),
            Series(conv(288, 64, 1), conv(64, 96, 3), shrunk(96, 96)),
            Plain(MaxPool(3, 2)),
        ),
        *(factored(768, inner) for inner in (128, 160, 160, 192)),
        Branches(
            Series(conv(768, 192, 1), shrunk(192, 320)),
            Series(along(768, 192, 1, (1, 7), (7, 1)), shrunk(192, 192)),
            Plain(MeanPool(3, 2)),
        ),
        widened(1280),
        widened(2048),
        Plain(mean_pixel),
        Plain(Dense(2048, classes, key=next(keys))),
    )
