"""The ResNets of ImageNet with basic blocks, for small images too, and with channel attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
from jaxtyping import PRNGKeyArray

from subspace.errors import one_of
from subspace.models.blocks import ConvNorm, Excite, Plain, Residual, Series, keys_of, shortcut
from subspace.models.layers import Dense
from subspace.models.pool import MaxPool, mean_pixel

WIDTHS = (64, 128, 256, 512)
STEMS = ("cifar", "imagenet")


def resnet18(
    in_shape: tuple[int, int, int],
    classes: int,
    *,
    key: PRNGKeyArray,
    blocks: Sequence[int] = (2, 2, 2, 2),
    stem: str = "cifar",
) -> Series:
    """Four stages of basic blocks: He et al., arXiv 1512.03385.

    11,220,132 parameters for 100 classes with the stem for small images, a 3×3 convolution;
    11,689,512 for 1,000 classes with that for large ones, a 7×7 convolution and a pooling, which
    make a sixteenth of the pixels.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        blocks: of each stage; (3, 4, 6, 3) makes a ResNet-34.
        stem: ``"cifar"`` for small images or ``"imagenet"`` for large ones.

    Raises:
        InvalidInput: there is no such stem.
    """
    keys = keys_of(key)
    if one_of("stem", stem, STEMS) == "cifar":
        first = [ConvNorm(in_shape[2], 64, 3, key=next(keys), padding=1)]
    else:
        large = ConvNorm(in_shape[2], 64, 7, key=next(keys), stride=2, padding=3)
        first = [large, Plain(MaxPool(3, 2, 1))]
    return _network(first, classes, keys, blocks, attention=False)


def se_resnet18(
    in_shape: tuple[int, int, int],
    classes: int,
    *,
    key: PRNGKeyArray,
    blocks: Sequence[int] = (2, 2, 2, 2),
) -> Series:
    """The same stages with squeeze and excitation: Hu et al., arXiv 1709.01507.

    11,314,012 parameters for 100 classes.

    Args:
        in_shape: (height, width, channels).
        classes: how many logits.
        key: from ``jax.random.key``.
        blocks: of each stage.
    """
    keys = keys_of(key)
    stem = ConvNorm(in_shape[2], 64, 3, key=next(keys), padding=1, bias=True)
    return _network([stem], classes, keys, blocks, attention=True)


def _network(
    stem: list, classes: int, keys: Iterator[PRNGKeyArray], counts: Sequence[int], attention: bool
) -> Series:
    """The stem, the stages and the output. All stages but the first halve the image at first."""
    output = Dense(WIDTHS[-1], classes, key=next(keys))
    made, inputs = [], WIDTHS[0]
    for stage, (count, outputs) in enumerate(zip(counts, WIDTHS, strict=True)):
        for index in range(count):
            stride = 2 if stage and not index else 1
            made.append(_block(inputs, outputs, stride, keys, attention))
            inputs = outputs
    return Series(*stem, *made, Plain(mean_pixel), Plain(output))


def _block(
    inputs: int, outputs: int, stride: int, keys: Iterator[PRNGKeyArray], attention: bool
) -> Residual:
    """With attention its convolutions have biases, and the second is rectified."""
    last = jax.nn.relu if attention else None
    body: list = [
        ConvNorm(inputs, outputs, 3, key=next(keys), stride=stride, padding=1, bias=attention),
        ConvNorm(outputs, outputs, 3, key=next(keys), padding=1, bias=attention, activation=last),
    ]
    if attention:
        body.append(Plain(Excite(outputs, outputs // 16, key=next(keys))))
    around = None
    if stride > 1 or inputs != outputs:
        around = shortcut(inputs, outputs, stride, key=next(keys), bias=attention)
    return Residual(Series(*body), around)
