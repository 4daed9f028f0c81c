"""BERT's encoder with a head on top: classification of token sequences (arXiv 1810.04805)."""

from __future__ import annotations

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from subspace.errors import InvalidInput
from subspace.models.blocks import keys_of
from subspace.models.layers import Dense, small

Tokens = Float[Array, "tokens width"]


class BertShape(NamedTuple):
    """The sizes of an encoder, by default small ones for tests and one's own experiments.

    Attributes:
        vocabulary: how many different tokens.
        width: numbers in a token, a multiple of ``heads``.
        depth: layers.
        heads: of attention.
        inner: numbers in a token between the two dense layers.
        positions: the most tokens at a time.
        types: kinds of segments, of which the first is used.
        epsilon: added to variances.
        pad: the token that fills up a short text, and that nothing attends to.
        pooling: what the head sees: ``"mean"``, of all tokens, brought to norm √width as sentence
            encoders have it, or ``"cls"``, the first token through a dense layer and tanh.
    """

    vocabulary: int
    width: int = 64
    depth: int = 2
    heads: int = 4
    inner: int = 256
    positions: int = 512
    types: int = 2
    epsilon: float = 1e-12
    pad: int = 0
    pooling: str = "mean"


POOLINGS = ("mean", "cls")
_BYTES = 257  # and one that fills up


@final
class Bert(eqx.Module):
    """An encoder of tokens that attend to one another, post-normalised, and a dense head.

    Examples:
        ```python
        model = Bert(BertShape(vocabulary=257), classes=2, key=jax.random.key(0))
        logits = model(tokens)  # (tokens,) -> (2,)
        ```
    """

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    pooler: Dense | None
    head: Dense
    pad: int = eqx.field(static=True)

    def __init__(self, shape: BertShape, classes: int, *, key: PRNGKeyArray):
        """An encoder of these sizes.

        Raises:
            InvalidInput: ``width`` is no multiple of ``heads``, or there is no such pooling.
        """
        if shape.width % shape.heads:
            said = f"width {shape.width} is no multiple of {shape.heads} heads"
            raise InvalidInput("model", said)
        if shape.pooling not in POOLINGS:
            raise InvalidInput("model", f"pooling is mean or cls, got {shape.pooling!r}")
        keys = keys_of(key)
        self.embeddings = Embeddings(shape, key=next(keys))
        self.layers = tuple(Layer(shape, key=next(keys)) for _ in range(shape.depth))
        width, pooled = shape.width, shape.pooling == "cls"
        self.pooler = _dense(width, width, next(keys)) if pooled else None
        self.head = _dense(width, classes, next(keys))
        self.pad = shape.pad

    def __call__(self, tokens: Int[Array, " tokens"]) -> Float[Array, " classes"]:
        """The logits of one text."""
        real = tokens != self.pad
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x, real)
        return self.head(_mean(x, real) if self.pooler is None else jnp.tanh(self.pooler(x[0])))


def bert(
    in_shape: tuple[int, ...],
    classes: int,
    *,
    key: PRNGKeyArray,
    shape: BertShape = BertShape(_BYTES),
) -> Bert:
    """A `Bert` for texts of ``in_shape = (tokens,)``.

    Raises:
        InvalidInput: texts are longer than it has positions.
    """
    if in_shape[0] > shape.positions:
        raise InvalidInput("context", f"the model has {shape.positions} positions; use at most so")
    return Bert(shape, classes, key=key)


@final
class Embeddings(eqx.Module):
    """Of a token, its position and the kind of its segment, added up and normalised."""

    words: Float[Array, "vocabulary width"]
    positions: Float[Array, "positions width"]
    types: Float[Array, "types width"]
    norm: eqx.nn.LayerNorm

    def __init__(self, shape: BertShape, *, key: PRNGKeyArray):
        keys = keys_of(key)
        self.words = small(next(keys), (shape.vocabulary, shape.width))
        self.positions = small(next(keys), (shape.positions, shape.width))
        self.types = small(next(keys), (shape.types, shape.width))
        self.norm = eqx.nn.LayerNorm(shape.width, shape.epsilon)

    def __call__(self, tokens: Int[Array, " tokens"]) -> Tokens:
        x = self.words[tokens] + self.positions[: len(tokens)] + self.types[:1]
        return jax.vmap(self.norm)(x)


@final
class Layer(eqx.Module):
    """Attention, then two dense layers; each is added to what it sees, and the sum normalised."""

    heads: int = eqx.field(static=True)
    query: Dense
    key: Dense
    value: Dense
    mix: Dense
    first_norm: eqx.nn.LayerNorm
    widen: Dense
    narrow: Dense
    second_norm: eqx.nn.LayerNorm

    def __init__(self, shape: BertShape, *, key: PRNGKeyArray):
        keys, width = keys_of(key), shape.width
        self.heads = shape.heads
        self.query, self.key, self.value, self.mix = (
            _dense(width, width, next(keys)) for _ in range(4)
        )
        self.widen = _dense(width, shape.inner, next(keys))
        self.narrow = _dense(shape.inner, width, next(keys))
        self.first_norm, self.second_norm = (
            eqx.nn.LayerNorm(width, shape.epsilon) for _ in range(2)
        )

    def __call__(self, x: Tokens, real: Array) -> Tokens:
        """What the tokens become; to those that aren't ``real``, (tokens,), none attends."""
        query, key, value = (
            part(x).reshape(len(x), self.heads, -1) for part in (self.query, self.key, self.value)
        )
        seen = jax.nn.dot_product_attention(query, key, value, mask=real[None, None])
        x = jax.vmap(self.first_norm)(x + self.mix(seen.reshape(x.shape)))
        inner = jax.nn.gelu(self.widen(x), approximate=False)
        return jax.vmap(self.second_norm)(x + self.narrow(inner))


def _mean(x: Tokens, real: Array) -> Float[Array, " width"]:
    """Of the real tokens, brought to norm √width."""
    total = jnp.sum(x * real[:, None].astype(x.dtype), axis=0)
    return total * jnp.sqrt(len(total) / (jnp.sum(jnp.square(total)) + 1e-12)).astype(x.dtype)


def _dense(inputs: int, outputs: int, key: PRNGKeyArray) -> Dense:
    """A dense layer that starts as BERT's do: normal with deviation 0.02."""
    fresh = Dense(inputs, outputs, key=key)
    return eqx.tree_at(lambda dense: dense.weight, fresh, small(key, (inputs, outputs)))
