"""What families of networks are put together from: blocks ``(x, state) -> (x, state)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.errors import InvalidInput
from subspace.models.layers import Conv, Dense, Padding
from subspace.models.norm import BatchNorm
from subspace.models.once import once

Activation = Callable[[Array], Array]


def keys_of(key: PRNGKeyArray) -> Iterator[PRNGKeyArray]:
    """As many keys as are asked for."""
    index = 0
    while True:
        yield jax.random.fold_in(key, index)
        index += 1


def check_sides(name: str, in_shape: tuple[int, int, int], least: int) -> None:
    """Raises InvalidInput if images have fewer rows or columns than a network needs."""
    height, width, _ = in_shape
    if min(height, width) < least:
        raise InvalidInput(
            "model",
            f"{name} needs images of at least {least}x{least} pixels, and these have "
            f"{height}x{width}; use fc or resnet8, or larger images",
        )


def shortcut(
    inputs: int, outputs: int, stride: int, *, key: PRNGKeyArray, bias: bool = False
) -> ConvNorm:
    """A 1×1 convolution that brings what goes around a residual block to its output's shape."""
    return ConvNorm(
        inputs, outputs, 1, key=key, stride=stride, padding=0, bias=bias, activation=None
    )


@final
class Plain(eqx.Module):
    """A layer without state, or a function, as a block."""

    layer: Callable[[Array], Array]

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        return self.layer(x), state


@final
class Series(eqx.Module):
    """Blocks one after another."""

    blocks: tuple[Any, ...]

    def __init__(self, *blocks: Any):
        self.blocks = blocks

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        for block in self.blocks:
            x, state = block(x, state)
        return x, state


@final
class Branches(eqx.Module):
    """Blocks that all see the same, their channels one after another."""

    blocks: tuple[Any, ...]

    def __init__(self, *blocks: Any):
        self.blocks = blocks

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        outputs = []
        for block in self.blocks:
            y, state = block(x, state)
            outputs.append(y)
        return once(jnp.concatenate(outputs, axis=-1)), state


@final
class Residual(eqx.Module):
    """``activation(body(x) + shortcut(x))``; without a shortcut that of x itself."""

    body: Any
    shortcut: Any = None
    activation: Activation | None = eqx.field(static=True, default=jax.nn.relu)

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        y, state = self.body(x, state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        y = once(y + x)
        return (y if self.activation is None else self.activation(y)), state


@final
class ConvNorm(eqx.Module):
    """A convolution, then batch normalisation, then an activation unless it is ``None``."""

    conv: Conv
    norm: BatchNorm
    activation: Activation | None = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | tuple[int, int],
        *,
        key: PRNGKeyArray,
        stride: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
        groups: int = 1,
        activation: Activation | None = jax.nn.relu,
    ):
        self.conv = Conv(
            inputs,
            outputs,
            size,
            key=key,
            stride=stride,
            padding=padding,
            bias=bias,
            groups=groups,
        )
        self.norm = BatchNorm.of(outputs)
        self.activation = activation

    def __call__(
        self, x: Float[Array, "height width inputs"], state: eqx.nn.State
    ) -> tuple[Float[Array, "rows cols outputs"], eqx.nn.State]:
        x, state = self.norm(self.conv(x), state)
        return (x if self.activation is None else self.activation(x)), state


@final
class Excite(eqx.Module):
    """Every channel times a number in (0, 1) that all channels' means give (Hu et al., 1709.01507).

    The means pass through a hidden layer of ``squeezed`` units.
    """

    squeeze: Dense
    excite: Dense
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        key: PRNGKeyArray,
        activation: Activation = jax.nn.relu,
    ):
        first, second = jax.random.split(key)
        self.squeeze = Dense(channels, squeezed, key=first)
        self.excite = Dense(squeezed, channels, key=second)
        self.activation = activation

    def __call__(self, x: Float[Array, "height width c"]) -> Float[Array, "height width c"]:
        means = jnp.mean(x, axis=(0, 1))
        shares = jax.nn.sigmoid(self.excite(self.activation(self.squeeze(means))))
        return x * shares[None, None]
