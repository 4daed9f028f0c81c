"""Transformers: of patches of an image (ViT), and of tokens, each seeing those before it."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from subspace.errors import InvalidInput
from subspace.models.blocks import keys_of
from subspace.models.layers import Conv, Dense, small

Tokens = Float[Array, "tokens width"]


@final
class ViT(eqx.Module):
    """A vision transformer (Dosovitskiy et al., arXiv 2010.11929) that averages its patches.

    1,217,252 parameters for 100 classes of 32×32×3 images with the defaults: patches of 4×4 pixels.
    """

    embed: Conv
    positions: Tokens
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    output: Dense

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        classes: int,
        *,
        key: PRNGKeyArray,
        patch: int = 4,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
    ):
        """A network for images whose sides are multiples of ``patch``.

        Args:
            in_shape: (height, width, channels).
            classes: how many logits.
            key: from ``jax.random.key``.
            patch: pixels in a side of a patch.
            width: numbers in a token, a multiple of ``heads``.
            depth: blocks.
            heads: of attention.

        Raises:
            InvalidInput: the images aren't made of whole patches.
        """
        height, across, channels = in_shape
        if height % patch or across % patch:
            raise InvalidInput(
                "model",
                f"vit needs sides that are multiples of {patch} pixels, and these images have "
                f"{height}x{across}; use fc or resnet8",
            )
        keys = keys_of(key)
        self.embed = Conv(channels, width, patch, key=next(keys), stride=patch)
        count = (height // patch) * (across // patch)
        self.positions = small(next(keys), (count, width))
        self.blocks = tuple(Block(width, heads, key=next(keys)) for _ in range(depth))
        self.norm = eqx.nn.LayerNorm(width)
        self.output = Dense(width, classes, key=next(keys))

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, " classes"]:
        """The logits of one image."""
        tokens = self.embed(x).reshape(self.positions.shape) + self.positions
        for block in self.blocks:
            tokens = block(tokens, causal=False)
        return self.output(jnp.mean(jax.vmap(self.norm)(tokens), axis=0))


@final
class Decoder(eqx.Module):
    """A language model of tokens: GPT-2's blocks (Radford et al. 2019), each token sees the past.

    Examples:
        ```python
        model = Decoder(256, 64, key=jax.random.key(0))  # bytes, up to 64 of them
        logits = model(tokens)  # (tokens, 256): what comes after each
        ```
    """

    embed: Tokens
    positions: Tokens
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    output: Dense

    def __init__(
        self,
        vocabulary: int,
        longest: int,
        *,
        key: PRNGKeyArray,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ):
        """A model of up to ``longest`` tokens from 0 to ``vocabulary - 1``.

        Args:
            vocabulary: how many different tokens.
            longest: how many tokens at a time.
            key: from ``jax.random.key``.
            width: numbers in a token, a multiple of ``heads``.
            depth: blocks.
            heads: of attention.
        """
        keys = keys_of(key)
        self.embed = small(next(keys), (vocabulary, width))
        self.positions = small(next(keys), (longest, width))
        self.blocks = tuple(Block(width, heads, key=next(keys)) for _ in range(depth))
        self.norm = eqx.nn.LayerNorm(width)
        self.output = Dense(width, vocabulary, key=next(keys))

    def __call__(self, tokens: Int[Array, " tokens"]) -> Float[Array, "tokens vocabulary"]:
        """At each token, the logits of the next."""
        x = self.embed[tokens] + self.positions[: len(tokens)]
        for block in self.blocks:
            x = block(x, causal=True)
        return self.output(jax.vmap(self.norm)(x))


@final
class Block(eqx.Module):
    """Attention, then two dense layers, each added to what they see normalised."""

    heads: int = eqx.field(static=True)
    first_norm: eqx.nn.LayerNorm
    projections: Dense
    mix: Dense
    second_norm: eqx.nn.LayerNorm
    widen: Dense
    narrow: Dense

    def __init__(self, width: int, heads: int, *, key: PRNGKeyArray):
        if width % heads:
            raise InvalidInput("model", f"width {width} is no multiple of {heads} heads")
        keys = keys_of(key)
        self.heads = heads
        self.first_norm, self.second_norm = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.projections = Dense(width, 3 * width, key=next(keys))
        self.mix = Dense(width, width, key=next(keys))
        self.widen = Dense(width, 4 * width, key=next(keys))
        self.narrow = Dense(4 * width, width, key=next(keys))

    def __call__(self, x: Tokens, *, causal: bool) -> Tokens:
        split = self.projections(jax.vmap(self.first_norm)(x)).reshape(len(x), 3, self.heads, -1)
        seen = jax.nn.dot_product_attention(split[:, 0], split[:, 1], split[:, 2], is_causal=causal)
        x = x + self.mix(seen.reshape(x.shape))
        return x + self.narrow(jax.nn.gelu(self.widen(jax.vmap(self.second_norm)(x))))


def decoder(in_shape: tuple[int, ...], vocabulary: int, *, key: PRNGKeyArray) -> Decoder:
    """A `Decoder` for windows of ``in_shape = (tokens,)``."""
    return Decoder(vocabulary, in_shape[0], key=key)
