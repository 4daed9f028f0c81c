"""Per-example inputs and output gradients of a model's layers, in one backward pass.

A layer's per-example gradient is an outer product: ``u = vec(i ⊗ g)`` with its input i, a 1
appended for the bias, and the gradient g of that example's loss with respect to its output. n rows
of each stand for n gradients of a·b numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from subspace.models import Conv, Dense

Layer = Dense | Conv | eqx.nn.Linear | eqx.nn.Conv2d


class Rows(NamedTuple):
    """What n examples say about a layer of a inputs (bias included) and b outputs.

    Of a convolution ``inputs`` is the mean of its patches over positions and ``outputs`` the sum of
    its output gradients over positions: the outer product is the gradient if all patches of an
    example are equal, and an approximation otherwise.
    """

    inputs: Float[Array, "n a"]
    outputs: Float[Array, "n b"]


def layers(tree: PyTree) -> dict[str, Layer]:
    """The layers that can be captured, by their path; in a model, its parameters or gradients."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_layer)
    return {jax.tree_util.keystr(path): leaf for path, leaf in found if _is_layer(leaf)}


def replaced(tree: PyTree, new: Callable[[str, Layer], Any]) -> PyTree:
    """The same tree with every such layer replaced by ``new(path, layer)``."""

    def change(path: Any, node: Any) -> Any:
        return new(jax.tree_util.keystr(path), node) if _is_layer(node) else node

    return jax.tree_util.tree_map_with_path(change, tree, is_leaf=_is_layer)


def others(tree: PyTree) -> list[str]:
    """The arrays that no such layer holds, by name."""
    rest, _ = jax.tree_util.tree_flatten_with_path(replaced(tree, lambda path, layer: None))
    return [jax.tree_util.keystr(path) for path, _ in rest]


def capture(
    model: PyTree,
    loss: Callable[[PyTree, PyTree], Float[Array, ""]],
    examples: PyTree,
) -> dict[str, Rows]:
    """Inputs and output gradients of every layer for a batch.

    Args:
        model: any module; `layers` says which of its layers are captured. A layer is to be called
            once an example.
        loss: ``loss(model, example)``, that of one example; under a ``vmap`` over the axis
            ``"batch"``, so that batch normalisation works.
        examples: leaves of shape ``(n, ...)``.

    Returns:
        By path; gradients are those of the sum of the losses.
    """
    count = jax.tree.leaves(examples)[0].shape[0]
    slots = {
        path: Rows(*(jnp.zeros((count, size), jnp.float32) for size in sizes(layer)))
        for path, layer in layers(model).items()
    }

    def total(slots: dict[str, Rows]) -> Float[Array, ""]:
        def one(slots: dict[str, Rows], example: PyTree) -> Float[Array, ""]:
            tapped = replaced(model, lambda path, layer: _Tap(layer, *slots[path]))
            return loss(tapped, example)

        return jnp.sum(jax.vmap(one, axis_name="batch")(slots, examples))

    return jax.grad(total)(slots)


def sizes(layer: Layer) -> tuple[int, int]:
    """a and b, of a layer of arrays or of their shapes."""
    a, b = jax.eval_shape(as_matrix, layer).shape
    return a, b


def as_matrix(layer: Layer) -> Float[Array, "a b"]:
    """A layer's parameters, or gradients, as one matrix; the bias is the last row."""
    weight = layer.weight
    assert weight is not None
    if isinstance(layer, eqx.nn.Linear):
        weight = weight.T
    elif isinstance(layer, eqx.nn.Conv2d):
        weight = jnp.transpose(weight, (2, 3, 1, 0))
    matrix = weight.reshape(-1, weight.shape[-1])
    if layer.bias is None:
        return matrix
    return jnp.concatenate([matrix, layer.bias.reshape(1, -1)])


def from_matrix(matrix: Float[Array, "a b"], like: Layer) -> Layer:
    """The inverse of `as_matrix`."""
    weight, bias = like.weight, like.bias
    assert weight is not None
    rows = matrix if bias is None else matrix[:-1]
    if isinstance(like, eqx.nn.Linear):
        rows = rows.T
    elif isinstance(like, eqx.nn.Conv2d):
        outputs, inputs, height, width = weight.shape
        rows = jnp.transpose(rows.reshape(height, width, inputs, outputs), (3, 2, 0, 1))
    new: Any = eqx.tree_at(lambda one: one.weight, like, rows.reshape(weight.shape))
    if bias is None:
        return new
    return eqx.tree_at(lambda one: one.bias, new, matrix[-1].reshape(bias.shape))


def _is_layer(node: Any) -> bool:
    if isinstance(node, eqx.nn.Conv2d):
        plain = node.groups == 1 and set(node.dilation) == {1} and node.padding_mode == "ZEROS"
        return plain and not isinstance(node.padding, str) and node.weight is not None
    if isinstance(node, eqx.nn.Linear):  # not one of scalars
        return isinstance(node.in_features, int) and isinstance(node.out_features, int)
    if isinstance(node, Conv):
        return node.groups == 1
    return isinstance(node, Dense)


class _Tap(eqx.Module):
    """A layer whose slots' gradients are what went in and what comes back."""

    layer: Any
    inputs: Float[Array, " a"]
    outputs: Float[Array, " b"]

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        y = self.layer(x, *args, **kwargs)
        positions = range(1, y.ndim) if isinstance(self.layer, eqx.nn.Conv2d) else range(y.ndim - 1)
        y = y + jnp.expand_dims(self.outputs, tuple(positions))
        return _recorded(y, self.inputs, _input(self.layer, x))


@jax.custom_vjp
def _recorded(y: Array, slot: Array, value: Array) -> Array:
    """y; the gradient with respect to the slot is the value."""
    return y


_recorded.defvjp(
    lambda y, slot, value: (y, value),
    lambda value, cotangent: (cotangent, value, jnp.zeros_like(value)),
)


def _input(layer: Layer, x: Array) -> Float[Array, " a"]:
    """The input, of a convolution the mean of its patches; with a 1 for the bias."""
    if isinstance(layer, Conv):
        size, strides = layer.weight.shape[:2], (layer.stride, layer.stride)
        x = _mean_patch(x, size, strides, layer.pads(*x.shape[:2]))
    elif isinstance(layer, eqx.nn.Conv2d):
        image = jnp.transpose(x, (1, 2, 0))
        x = _mean_patch(image, layer.kernel_size, layer.stride, layer.padding)
    elif x.ndim > 1:  # at every position
        x = x.mean(axis=tuple(range(x.ndim - 1)))
    ones = () if layer.bias is None else (jnp.ones(1, x.dtype),)
    return lax.stop_gradient(jnp.concatenate([x, *ones]))


def _mean_patch(x: Float[Array, "h w c"], size: Any, strides: Any, pads: Any) -> Float[Array, " k"]:
    """In the order of a kernel's (height, width, inputs); rows first, which leaves little."""
    x = jnp.pad(x, (*pads, (0, 0)))
    parts = [
        column.mean(axis=0)
        for row in _windows(x, size[0], strides[0])
        for column in _windows(row.mean(axis=0), size[1], strides[1])
    ]
    return jnp.concatenate(parts)


def _windows(x: Array, size: int, stride: int) -> list[Array]:
    """Along the first axis, what each of a window's places sees."""
    steps = (len(x) - size) // stride
    return [x[i : i + steps * stride + 1 : stride] for i in range(size)]
