"""What of a network an adapter changes: chosen matrices in few numbers, and its head directly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from subspace.errors import InvalidInput

RANK = 4
_ATTENTION = ("*query.weight", "*value.weight", "*projections.weight")
_HEAD = ("head.*",)


def patterns(text: str) -> tuple[str, ...]:
    """``*query*,*value*`` as patterns, without empty ones."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def matches(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a name, such as ``layers.0.query.weight``, is as one of the patterns has it."""
    return any(fnmatchcase(name, one) for one in wanted)


def names_of(tree: PyTree) -> list[str]:
    """Of its leaves, such as ``layers.0.query.weight``."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


@dataclass(frozen=True)
class Matrix:
    """A leaf that is changed as a matrix: its number, its shape, and as how many rows."""

    leaf: int
    shape: tuple[int, ...]
    dtype: Any
    rows: int
    columns: int

    def of(self, leaf: Array) -> Float[Array, "rows columns"]:
        return leaf.reshape(self.rows, self.columns)


@dataclass(frozen=True)
class Choice:
    """Which leaves of a tree an adapter changes; hashable, holds no arrays.

    Attributes:
        treedef: of the parameters.
        leaves: their shapes and types.
        matrices: changed by few numbers each.
        direct: the numbers of leaves that are changed number by number.
    """

    treedef: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    matrices: tuple[Matrix, ...]
    direct: tuple[int, ...]

    def leaves_of(self, tree: PyTree) -> list[Any]:
        """The leaves of a tree shaped like the parameters.

        Raises:
            InvalidInput: it has another structure.
        """
        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self.treedef:
            raise InvalidInput("params", "the adapter was made for another tree; give it that")
        return leaves

    def whole(self, changed: dict[int, Array]) -> PyTree:
        """A tree like the parameters: zeros but for these leaves."""
        leaves = [
            changed[i].reshape(like.shape).astype(like.dtype)
            if i in changed
            else jnp.zeros(like.shape, like.dtype)
            for i, like in enumerate(self.leaves)
        ]
        return jax.tree.unflatten(self.treedef, leaves)


def choose(params: PyTree, targets: str | None = None, direct: str | None = None) -> Choice:
    """The leaves that an adapter changes.

    Args:
        params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
        targets: patterns of the names of matrices, and kernels of convolutions as such; by default
            queries and values of attention, in a network without any all but the last.
        direct: patterns of the names of leaves that are changed number by number; by default
            ``head.*``, in a network without one its last matrix and what comes after it.

    Raises:
        InvalidInput: nothing has such a name, or it is no matrix.
    """
    leaves, treedef = jax.tree.flatten(params)
    names = names_of(params)
    shaped = [name for name, leaf in zip(names, leaves, strict=True) if len(leaf.shape) > 1]
    heads = _direct(names, shaped, direct)
    if targets is None:
        usual = [name for name in shaped if matches(name, _ATTENTION)]
        wanted = usual or [name for name in shaped if name not in heads]
    else:
        wanted = [name for name in names if matches(name, patterns(targets)) and name not in heads]
        flat = [name for name in wanted if name not in shaped]
        if flat:
            raise InvalidInput("targets", f"{flat[0]} is no matrix; name it in direct")
    if targets and not wanted:
        raise InvalidInput("targets", f"no parameter is called {targets}; {_some(shaped)}")
    if not wanted and not heads:
        raise InvalidInput("targets", "there is no matrix among the parameters")
    found = [
        Matrix(i, leaf.shape, leaf.dtype, math.prod(leaf.shape[:-1]), leaf.shape[-1])
        for i, (name, leaf) in enumerate(zip(names, leaves, strict=True))
        if name in wanted
    ]
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    numbers = tuple(i for i, name in enumerate(names) if name in heads)
    return Choice(treedef, shapes, tuple(found), numbers)


def _direct(names: list[str], shaped: list[str], direct: str | None) -> list[str]:
    if direct is not None:
        found = [name for name in names if matches(name, patterns(direct))]
        if patterns(direct) and not found:
            raise InvalidInput("direct", f"no parameter is called {direct}; {_some(names)}")
        return found
    heads = [name for name in names if matches(name, _HEAD)]
    return heads or (names[names.index(shaped[-1]) :] if shaped else [])


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3] + names[-2:] if len(names) > 5 else names)
    return f"names are such as {shown}"
