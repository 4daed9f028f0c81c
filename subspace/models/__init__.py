"""The model zoo: Equinox modules of one example, and the functions that treat them all alike.

``build`` makes a model by name, ``apply`` runs a batch through it or through a model of your own,
``parameter_count`` counts. ``MODELS`` lists the names; a family is imported when one of its models
is made: ``from subspace.models.vgg import vgg`` has the arguments that it takes beside these.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from subspace.errors import InvalidInput, lookup
from subspace.models.cnn import CNN
from subspace.models.fc import FC
from subspace.models.layers import Conv, Dense
from subspace.models.norm import BatchNorm, with_axis, with_momentum
from subspace.models.pool import max_pool
from subspace.models.resnet import ResNet

__all__ = [
    "CNN",
    "FC",
    "MODELS",
    "BatchNorm",
    "Conv",
    "Dense",
    "ModelEntry",
    "ResNet",
    "apply",
    "build",
    "max_pool",
    "parameter_count",
    "size",
    "with_axis",
    "with_momentum",
]


class ModelEntry(NamedTuple):
    """A model that has a name.

    Attributes:
        description: one line for people.
        make: ``make(in_shape, classes, *, key)``, which returns an Equinox module.
        source: the paper, by its arXiv number, or whatever says where it is from.
        takes: ``"images"`` (height, width, channels), ``"tokens"`` (count,) to go on from,
            ``"sequences"`` (count,) to tell apart, or ``"any"`` shape.
    """

    description: str
    make: Callable[..., eqx.Module]
    source: str = ""
    takes: str = "images"


def _of(family: str, maker: str, **arguments: Any) -> Callable[..., eqx.Module]:
    """A maker of a module that isn't imported until it is called."""

    def make(*shape: Any, key: PRNGKeyArray, **sizes: Any) -> eqx.Module:
        module = importlib.import_module(f"subspace.models.{family}")
        return getattr(module, maker)(*shape, key=key, **arguments, **sizes)

    return make


def _option_a(blocks: int) -> ModelEntry:
    return ModelEntry(
        f"residual network of {6 * blocks + 2} layers, shortcuts without parameters",
        _of("cifar_resnet", "cifar_resnet", blocks=blocks),
        "1512.03385",
    )


MODELS: dict[str, ModelEntry] = {
    "fc": ModelEntry("fully connected, one hidden layer of 128 units", FC, "2011.04720", "any"),
    "cnn": ModelEntry("three 3x3 convolutions and a hidden layer of 64 units", CNN, "2011.04720"),
    "resnet8": ModelEntry(
        "residual network of 8 layers, batch normalisation", ResNet, "2011.04720"
    ),
    "resnet32": ModelEntry(
        "residual network of 32 layers, batch normalisation",
        functools.partial(ResNet, blocks=5),
        "2011.04720",
    ),
    "resnet8_a": _option_a(1),
    "resnet20": _option_a(3),
    "resnet32_a": _option_a(5),
    "resnet44": _option_a(7),
    "resnet56": _option_a(9),
    "resnet110": _option_a(18),
    "resnet18": ModelEntry(
        "18 layers of 64 to 512 channels, for small images",
        _of("resnet18", "resnet18"),
        "1512.03385",
    ),
    "resnet18_imagenet": ModelEntry(
        "18 layers of 64 to 512 channels, for large images",
        _of("resnet18", "resnet18", stem="imagenet"),
        "1512.03385",
    ),
    "se_resnet18": ModelEntry(
        "ResNet-18 with squeeze and excitation", _of("resnet18", "se_resnet18"), "1709.01507"
    ),
    "vgg11_bn": ModelEntry("8 convolutions, 3 dense layers", _of("vgg", "vgg"), "1409.1556"),
    "vgg16_bn": ModelEntry(
        "13 convolutions, 3 dense layers", _of("vgg", "vgg", depth=16), "1409.1556"
    ),
    "mobilenet": ModelEntry("separable convolutions", _of("mobilenet", "mobilenet"), "1704.04861"),
    "shufflenet_v2": ModelEntry(
        "shuffled halves of the channels", _of("shufflenet", "shufflenet_v2"), "1807.11164"
    ),
    "squeezenet": ModelEntry(
        "squeezed channels, no dense layer", _of("squeezenet", "squeezenet"), "1602.07360"
    ),
    "efficientnet_b0": ModelEntry(
        "inverted bottlenecks with attention", _of("efficientnet", "efficientnet"), "1905.11946"
    ),
    "densenet121": ModelEntry(
        "layers that see all before them", _of("densenet", "densenet"), "1608.06993"
    ),
    "googlenet": ModelEntry(
        "nine modules of four branches", _of("googlenet", "googlenet"), "1409.4842"
    ),
    "inception_v3": ModelEntry(
        "factored convolutions in branches", _of("inception", "inception_v3"), "1512.00567"
    ),
    "xception": ModelEntry(
        "separable convolutions in residual blocks", _of("xception", "xception"), "1610.02357"
    ),
    "nasnet": ModelEntry(
        "cells found by a search, NASNet-A", _of("nasnet", "NASNet"), "1707.07012"
    ),
    "vit": ModelEntry(
        "vision transformer, patches of 4x4 pixels", _of("transformer", "ViT"), "2010.11929"
    ),
    "bert": ModelEntry(
        "encoder of token sequences, BERT's blocks", _of("bert", "bert"), "1810.04805", "sequences"
    ),
    "decoder": ModelEntry(
        "language model, GPT-2's blocks", _of("transformer", "decoder"), "", "tokens"
    ),
}
"""What ``build`` takes; put your own in."""


def build(
    name: str, in_shape: tuple[int, ...], classes: int, *, key: PRNGKeyArray, **sizes: Any
) -> tuple[Any, eqx.nn.State]:
    """A freshly initialised model and its state.

    Args:
        name: one of ``MODELS``.
        in_shape: of an example, such as ``(height, width, channels)``.
        classes: how many logits the model returns.
        key: from ``jax.random.key``; the same key makes the same model.
        sizes: what else the model's maker takes.

    Returns:
        The module, and its ``eqx.nn.State``: running statistics, or nothing for a stateless model.

    Raises:
        InvalidInput: there is no such model, or the images don't suit it.
    """
    entry = lookup("model", name, MODELS)
    _check_sizes(entry, in_shape, classes)
    return eqx.nn.make_with_state(entry.make)(in_shape, classes, key=key, **sizes)


def apply(
    model: PyTree, state: PyTree, inputs: Shaped[Array, "batch ..."]
) -> tuple[Float[Array, "batch ..."], PyTree]:
    """The outputs of a batch, such as logits, whether or not the model has state.

    Your own model works as well. Without state it is called as ``model(x) -> output``; with
    state (any leaves in ``state``) as ``model(x, state) -> (output, state)``, on a ``vmap``
    axis named ``"batch"``, over which it has to average what it puts into the new state.

    Returns:
        Outputs, of shape ``(batch, classes)`` for the models of images, and the new state: the
        old one for a model without state or in inference mode.
    """
    if not jax.tree.leaves(state):
        return jax.vmap(model)(inputs), state
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    return batched(inputs, state)


def parameter_count(model: PyTree) -> int:
    """How many parameters the model has: D, the floating-point numbers in its JAX arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def size(name: str, in_shape: tuple[int, int, int], classes: int) -> int:
    """D of a model that isn't made.

    Raises:
        InvalidInput: as `build` does.
    """
    key = jax.eval_shape(jax.random.key, 0)
    shapes, _ = eqx.filter_eval_shape(lambda key: build(name, in_shape, classes, key=key), key)
    arrays = [leaf for leaf in jax.tree.leaves(shapes) if isinstance(leaf, jax.ShapeDtypeStruct)]
    return sum(leaf.size for leaf in arrays if jnp.issubdtype(leaf.dtype, jnp.floating))


_AXES = {"images": 3, "tokens": 1, "sequences": 1}
_SHAPES = {
    "images": "images of (height, width, channels), each at least 1; one channel for grey ones",
    "tokens": "windows of (tokens,)",
    "sequences": "texts of (tokens,)",
}


def _check_sizes(entry: ModelEntry, in_shape: tuple[int, ...], classes: int) -> None:
    axes = _AXES.get(entry.takes, len(in_shape))
    if len(in_shape) != axes or min(in_shape, default=1) < 1:
        what = _SHAPES.get(entry.takes, "examples of any shape, each side at least 1")
        raise InvalidInput("model", f"takes {what}, and the examples are {in_shape}")
    if classes < 1:
        raise InvalidInput("model", f"a model needs at least one class, got {classes}")
