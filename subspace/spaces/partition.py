"""Parameters <-> named flat vectors, the compartments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath
from jaxtyping import Array, Float, PyTree

from subspace.basis.base import cut, joined
from subspace.errors import InvalidInput, one_of

Label = Callable[[str, Any], str | None]
"""(path of a leaf such as ``"hidden/weight"``, the leaf) -> its compartment; None freezes it."""

DIVISIONS = ("whole", "layer", "leaf", "even:K")


class Piece(NamedTuple):
    """A leaf, or a part of a raveled leaf, in a compartment.

    Attributes:
        leaf: its number.
        dtype: what it is computed in.
        shape: of the leaf, or of the part.
        first: where in the raveled leaf a part begins; None for the whole leaf.
    """

    leaf: int
    dtype: Any
    shape: tuple[int, ...]
    first: int | None = None

    def of(self, leaf: Array) -> Array:
        if self.first is not None:
            leaf = leaf.ravel()[self.first : self.first + self.shape[0]]
        return leaf.astype(self.dtype)


@dataclass(frozen=True)
class Partition:
    """Which leaf goes into which compartment; hashable, holds no arrays.

    A group of leaves, one after another, is cut into one or more compartments. Leaves in no group
    are frozen: `take` leaves them out, `put` gives them zeros.
    """

    treedef: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    groups: tuple[tuple[tuple[int, ...], tuple[tuple[str, int], ...]], ...]
    """((indices of leaves), ((compartment, size), ...)) for each group."""

    @property
    def sizes(self) -> dict[str, int]:
        """Parameters in each compartment."""
        return {name: size for _, cuts in self.groups for name, size in cuts}

    @cached_property
    def pieces(self) -> dict[str, tuple[Piece, ...]]:
        """What each compartment consists of."""
        found: dict[str, tuple[Piece, ...]] = {}
        for indices, cuts in self.groups:
            whole = [Piece(i, self._dtype(indices), self.leaves[i].shape) for i in indices]
            if len(cuts) == 1:
                found[cuts[0][0]] = tuple(whole)
                continue
            ends = np.cumsum([size for _, size in cuts])
            for (name, size), end in zip(cuts, ends, strict=True):
                found[name] = _between(whole, int(end) - size, int(end))
        return found

    @property
    def dtypes(self) -> dict[str, Any]:
        """What each compartment, and its coordinates, are computed in."""
        return {name: pieces[0].dtype for name, pieces in self.pieces.items()}

    def leaves_of(self, tree: PyTree) -> list[Array]:
        """The leaves of a tree shaped like the parameters.

        Raises:
            InvalidInput: the tree has another structure.
        """
        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self.treedef:
            raise InvalidInput(
                "params",
                "the subspace was made for another tree than it is used with; make it from the "
                f"one that the optimizer sees: expected {self.treedef}, got {treedef}",
            )
        return leaves

    def tree_of(self, leaves: Sequence[Any]) -> PyTree:
        """The inverse of `leaves_of`."""
        return jax.tree.unflatten(self.treedef, leaves)

    def take(self, leaves: Sequence[Array]) -> dict[str, list[Array]]:
        """The pieces of each compartment, in float32 or wider."""
        return {
            name: [piece.of(leaves[piece.leaf]) for piece in pieces]
            for name, pieces in self.pieces.items()
        }

    def put(self, parts: Mapping[str, Sequence[Array]], shapes: Sequence[tuple]) -> list[Array]:
        """The inverse of `take`, leaves of these shapes and the parameters' dtypes.

        Frozen ones are zero.
        """
        found: list[list[Array]] = [[] for _ in self.leaves]
        for name, pieces in self.pieces.items():
            for piece, part in zip(pieces, parts[name], strict=True):
                found[piece.leaf].append(part)
        return [
            (joined(have).reshape(shape) if have else jnp.zeros(shape)).astype(leaf.dtype)
            for have, shape, leaf in zip(found, shapes, self.leaves, strict=True)
        ]

    def split(self, tree: PyTree) -> dict[str, Float[Array, " n"]]:
        """The compartments of a tree shaped like the parameters, in float32 or wider."""
        parts = self.take(self.leaves_of(tree))
        return {name: joined(pieces) for name, pieces in parts.items()}

    def join(self, flats: Mapping[str, Float[Array, " n"]]) -> PyTree:
        """The inverse of `split`; leaves take the parameters' dtypes, frozen ones are zero."""
        parts = {
            name: cut(flats[name], [piece.shape for piece in pieces])
            for name, pieces in self.pieces.items()
        }
        leaves = self.put(parts, [leaf.shape for leaf in self.leaves])
        return self.tree_of(leaves)

    def _dtype(self, indices: Sequence[int]) -> Any:
        return wide_type(*(self.leaves[i].dtype for i in indices))


def wide_type(*dtypes: Any) -> Any:
    """What numbers of these types are computed in: float32, or wider where one of them is."""
    return max((jnp.dtype(jnp.float32), *dtypes), key=lambda dtype: jnp.finfo(dtype).bits)


def _between(pieces: Sequence[Piece], first: int, end: int) -> tuple[Piece, ...]:
    """The parts of raveled leaves between two places in all of them."""
    found, at = [], 0
    for piece in pieces:
        size = prod(piece.shape)
        low, high = max(first - at, 0), min(end - at, size)
        if low < high:
            found.append(piece._replace(shape=(high - low,), first=low))
        at += size
    return tuple(found)


def divide(params: PyTree, compartments: str | Label | Partition = "whole") -> Partition:
    """Divides parameters into compartments.

    Args:
        params: a pytree of floating-point arrays or their `jax.ShapeDtypeStruct`s.
        compartments: ``"whole"``, ``"layer"``, ``"leaf"``, ``"even:K"`` (K slices of the flat
            vector, of equal size up to one), a `Label` function, or a `Partition`.

    Raises:
        InvalidInput: no such division, no parameters to divide, or more slices than parameters.
        TypeError: a leaf is not a floating-point array.
    """
    if isinstance(compartments, Partition):
        return compartments
    named, treedef = jax.tree_util.tree_flatten_with_path(params)
    paths = [path for path, _ in named]
    leaves = tuple(_shape_of(path, leaf) for path, leaf in named)
    names, count = _labels(compartments, paths, leaves)
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name is not None and prod(leaves[i].shape) > 0:
            groups.setdefault(name, []).append(i)
    if not groups:
        raise InvalidInput("compartments", "no parameters to train; check the tree and the labels")
    cut = (
        (tuple(indices), _slices(name, sum(prod(leaves[i].shape) for i in indices), count))
        for name, indices in groups.items()
    )
    return Partition(treedef, leaves, tuple(cut))


def _shape_of(path: KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
    if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)):
        raise TypeError(
            f"params[{_short(path)!r}] is {type(leaf).__name__}, not a floating-point array; "
            "filter the tree first, for example with "
            "equinox.filter(model, equinox.is_inexact_array)"
        )
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _labels(
    compartments: str | Label, paths: Sequence[KeyPath], leaves: Sequence[jax.ShapeDtypeStruct]
) -> tuple[list[str | None], int]:
    """The group of each leaf by a named division, and into how many slices each group is cut."""
    if callable(compartments):
        each = zip(paths, leaves, strict=True)
        return [compartments(_short(path), leaf) for path, leaf in each], 1
    if not isinstance(compartments, str):
        raise InvalidInput(
            "compartments",
            f"must be one of {', '.join(DIVISIONS)}, or a function, got {compartments!r}",
        )
    kind, _, count = compartments.partition(":")
    if kind == "even" and count:
        if not (count.isdecimal() and int(count) > 0):
            raise InvalidInput("compartments", f"even:K is in K ≥ 1 slices, got K = {count}")
        return ["whole" for _ in paths], int(count)
    one_of("compartments", compartments, DIVISIONS)
    if compartments == "layer":
        return _names([path[:-1] for path in paths], "(top)"), 1
    if compartments == "leaf":
        return _names(paths, "params"), 1
    return ["whole" for _ in paths], 1


def _names(paths: Sequence[KeyPath], top: str) -> list[str | None]:
    """A short name for each path, or the whole one where a key with a slash makes two alike."""
    short = {path: _short(path) or top for path in paths}
    count = Counter(short.values())
    return [
        short[path] if count[short[path]] == 1 else jax.tree_util.keystr(path) for path in paths
    ]


def _short(path: KeyPath) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _slices(name: str, size: int, count: int) -> tuple[tuple[str, int], ...]:
    if count == 1:
        return ((name, size),)
    if count > size:
        raise InvalidInput("compartments", f"even:{count} needs at most {size} slices")
    small, larger = divmod(size, count)
    return tuple((f"slice{i}", small + (i < larger)) for i in range(count))
