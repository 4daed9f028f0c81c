"""NASNet-A: Zoph et al., arXiv 1707.07012, for small images."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.models.blocks import ConvNorm, Plain, Series, keys_of
from subspace.models.layers import Conv, Dense
from subspace.models.norm import BatchNorm
from subspace.models.once import once
from subspace.models.pool import MaxPool, MeanPool, mean_pixel

Map = Float[Array, "_ _ _"]


@final
class NASNet(eqx.Module):
    """Stages of normal cells with a reduction cell, which halves the image, between them.

    A cell sees the outputs of the two before it. 5,221,624 parameters for 100 classes with the
    defaults. No auxiliary output, no scheduled path dropping.
    """

    stem: ConvNorm
    cells: tuple[Cell, ...]
    output: Dense

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        classes: int,
        *,
        key: PRNGKeyArray,
        repeats: int = 4,
        filters: int = 44,
    ):
        """A network with ``repeats`` normal cells in each of three stages.

        Args:
            in_shape: (height, width, channels).
            classes: how many logits.
            key: from ``jax.random.key``.
            repeats: normal cells in a stage.
            filters: channels of the stem and of a branch in the first stage, doubled in the next.
        """
        keys = keys_of(key)
        self.stem = ConvNorm(in_shape[2], filters, 3, key=next(keys), activation=None)
        cells, before, channels, bigger = [], filters, filters, False
        for stage in range(3):
            width = filters * 2**stage
            for kind in [Reduction] * (stage > 0) + [Normal] * repeats:
                cells.append(kind(channels, before, width, key=next(keys), bigger=bigger))
                before, channels = channels, cells[-1].outputs * width
                bigger = kind is Reduction
        self.cells = tuple(cells)
        self.output = Dense(channels, classes, key=next(keys))

    def __call__(
        self, x: Map, state: eqx.nn.State
    ) -> tuple[Float[Array, " classes"], eqx.nn.State]:
        """The logits of one image, and the state with this batch in its running statistics."""
        x, state = self.stem(x, state)
        before = x
        for cell in self.cells:
            new, state = cell(x, before, state)
            x, before = new, x
        return self.output(mean_pixel(jax.nn.relu(x))), state


@final
class Normal(eqx.Module):
    """Five sums of two branches, beside what came from the cell before the last."""

    outputs = 6
    fit: Fit
    reduce: Series
    pairs: tuple[Series, ...]

    def __init__(self, inputs: int, before: int, width: int, *, key: PRNGKeyArray, bigger: bool):
        keys = keys_of(key)
        self.fit = Fit(before, width, key=next(keys), bigger=bigger)
        self.reduce = _reducing(inputs, width, key=next(keys), bias=False)
        sizes = (3, 3, 5, 5, 3)
        self.pairs = tuple(_separable(width, size, key=next(keys)) for size in sizes)

    def __call__(self, x: Map, before: Map, state: eqx.nn.State) -> tuple[Map, eqx.nn.State]:
        before, state = self.fit(before, state)
        x, state = self.reduce(x, state)
        parts, state = _each(self.pairs, (x, before, x, before, before), state)
        mean = MeanPool(3, 1, 1)
        first, second = parts[0] + x, parts[1] + parts[2]
        third, fourth, fifth = mean(x) + before, mean(before) * 2, parts[3] + parts[4]
        parts = [before, first, second, third, fourth, fifth]
        return once(jnp.concatenate(parts, axis=-1)), state


@final
class Reduction(eqx.Module):
    """Five sums of two branches that halve the image, four of which are kept."""

    outputs = 4
    fit: Fit
    reduce: Series
    pairs: tuple[Series, ...]
    last: Series

    def __init__(self, inputs: int, before: int, width: int, *, key: PRNGKeyArray, bigger: bool):
        keys = keys_of(key)
        self.fit = Fit(before, width, key=next(keys), bigger=bigger)
        self.reduce = _reducing(inputs, width, key=next(keys), bias=True)
        sizes = (7, 5, 7, 5)
        self.pairs = tuple(
            _separable(width, size, key=next(keys), stride=2, bias=True) for size in sizes
        )
        self.last = _separable(width, 3, key=next(keys), bias=True)

    def __call__(self, x: Map, before: Map, state: eqx.nn.State) -> tuple[Map, eqx.nn.State]:
        before, state = self.fit(before, state)
        x, state = self.reduce(x, state)
        parts, state = _each(self.pairs, (before, x, before, before), state)
        largest, mean = MaxPool(3, 2, 1)(x), MeanPool(3, 2, 1)(x)
        first = parts[0] + parts[1]
        second, third = largest + parts[2], mean + parts[3]
        again, state = self.last(first, state)
        fourth = MeanPool(3, 1, 1)(first) + second
        return once(jnp.concatenate([second, third, largest + again, fourth], axis=-1)), state


Cell = Normal | Reduction


@final
class Fit(eqx.Module):
    """Gives the output of the cell before the last the size and the channels wanted.

    The released definition has the parameters of both ways in every cell, and so has this: the
    count of the paper's table includes them. Only one way is taken; the other's get no gradient.
    """

    even: Conv
    odd: Conv
    norm: BatchNorm
    mix: Series
    bigger: bool = eqx.field(static=True)
    same: bool = eqx.field(static=True)

    def __init__(self, inputs: int, width: int, *, key: PRNGKeyArray, bigger: bool):
        keys = keys_of(key)
        self.even = Conv(inputs, width // 2, 1, key=next(keys))
        self.odd = Conv(inputs, width // 2, 1, key=next(keys))
        self.norm = BatchNorm.of(width)
        self.mix = _reducing(inputs, width, key=next(keys), bias=True)
        self.bigger = bigger
        self.same = inputs == width

    def __call__(self, x: Map, state: eqx.nn.State) -> tuple[Map, eqx.nn.State]:
        if self.bigger:
            x = jax.nn.relu(x)
            shifted = jnp.pad(x, ((0, 1), (0, 1), (0, 0)))[1:, 1:]
            halves = self.even(x[::2, ::2]), self.odd(shifted[::2, ::2])
            return self.norm(jnp.concatenate(halves, axis=-1), state)
        return (x, state) if self.same else self.mix(x, state)


def _each(
    blocks: tuple[Series, ...], inputs: tuple[Map, ...], state: eqx.nn.State
) -> tuple[list[Array], eqx.nn.State]:
    """What each block makes of its own input."""
    outputs = []
    for block, x in zip(blocks, inputs, strict=True):
        y, state = block(x, state)
        outputs.append(y)
    return outputs, state


def _reducing(inputs: int, width: int, *, key: PRNGKeyArray, bias: bool) -> Series:
    """A rectifier and a 1×1 convolution."""
    mix = ConvNorm(inputs, width, 1, key=key, bias=bias, activation=None)
    return Series(Plain(jax.nn.relu), mix)


def _separable(
    width: int, size: int, *, key: PRNGKeyArray, stride: int = 1, bias: bool = False
) -> Series:
    """Twice a rectifier and a separable convolution; the first may stride and lack biases."""
    keys = keys_of(key)
    blocks: list = []
    for step, biased in ((stride, bias), (1, True)):
        depth = Conv(
            width,
            width,
            size,
            key=next(keys),
            stride=step,
            padding=size // 2,
            bias=biased,
            groups=width,
        )
        mix = ConvNorm(width, width, 1, key=next(keys), bias=True, activation=None)
        blocks += [Plain(jax.nn.relu), Plain(depth), mix]
    return Series(*blocks)
