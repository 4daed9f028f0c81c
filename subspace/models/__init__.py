"""The model zoo: Equinox modules of one example, and the functions that treat them all alike.

``build`` makes a model by name, ``apply`` runs a batch through it or through a model of your own,
``parameter_count`` counts. ``MODELS`` lists the names.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from subspace.errors import InvalidInput
from subspace.models.cnn import CNN
from subspace.models.fc import FC
from subspace.models.layers import BatchNorm, Conv, Dense, max_pool, with_axis, with_momentum
from subspace.models.resnet import ResNet

__all__ = [
    "CNN",
    "FC",
    "MODELS",
    "BatchNorm",
    "Conv",
    "Dense",
    "Entry",
    "ResNet",
    "apply",
    "build",
    "max_pool",
    "parameter_count",
    "with_axis",
    "with_momentum",
]


class Entry(NamedTuple):
    """A model that has a name.

    Attributes:
        description: one line for people.
        make: ``make(in_shape, classes, *, key)``, which returns an Equinox module.
    """

    description: str
    make: Callable[..., eqx.Module]


MODELS: dict[str, Entry] = {
    "fc": Entry("fully connected, one hidden layer of 128 units", FC),
    "cnn": Entry("three 3x3 convolutions and a hidden layer of 64 units", CNN),
    "resnet8": Entry("residual network of 8 layers, batch normalisation", ResNet),
    "resnet32": Entry(
        "residual network of 32 layers, batch normalisation", functools.partial(ResNet, blocks=5)
    ),
}


def build(
    name: str, in_shape: tuple[int, ...], classes: int, *, key: PRNGKeyArray
) -> tuple[Any, eqx.nn.State]:
    """A freshly initialised model and its state.

    Args:
        name: one of ``MODELS``.
        in_shape: ``(height, width, channels)`` of an image.
        classes: how many logits the model returns.
        key: from ``jax.random.key``; the same key makes the same model.

    Returns:
        The module, and its ``eqx.nn.State``: running statistics, or nothing for a stateless model.

    Raises:
        InvalidInput: there is no such model, or the images don't suit it.
    """
    _check_name(name)
    _check_sizes(in_shape, classes)
    return eqx.nn.make_with_state(MODELS[name].make)(in_shape, classes, key=key)


def apply(
    model: PyTree, state: PyTree, images: Float[Array, "batch ..."]
) -> tuple[Float[Array, "batch ..."], PyTree]:
    """The logits of a batch, whether or not the model has state.

    Your own model works as well. Without state it is called as ``model(image) -> logits``; with
    state (any leaves in ``state``) as ``model(image, state) -> (logits, state)``, on a ``vmap``
    axis named ``"batch"``, over which it has to average what it puts into the new state.

    Returns:
        Logits, of shape ``(batch, classes)`` for the models here, and the new state: the old one
        for a model without state or in inference mode.
    """
    if not jax.tree.leaves(state):
        return jax.vmap(model)(images), state
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    return batched(images, state)


def parameter_count(model: PyTree) -> int:
    """How many parameters the model has: D, the floating-point numbers in its JAX arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def _check_name(name: str) -> None:
    if name in MODELS:
        return
    near = difflib.get_close_matches(name.lower(), MODELS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidInput(
        "model", f"there is no model {name!r}; {hint}choose from {', '.join(MODELS)}"
    )


def _check_sizes(in_shape: tuple[int, ...], classes: int) -> None:
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise InvalidInput(
            "model",
            f"images have to be (height, width, channels), each at least 1, and are {in_shape}; "
            "reshape them, with one channel for grey images",
        )
    if classes < 1:
        raise InvalidInput("model", f"a model needs at least one class, got {classes}")
