"""Parameters that are divided over the devices of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar, final

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree

from subspace.basis.base import Block
from subspace.spaces.partition import wide_type

_T = TypeVar("_T", bound=Any)


@final
@dataclass(frozen=True)
class Shards:
    """Which axes of which leaves are divided along which axes of a mesh; hashable.

    Attributes:
        mesh: the devices.
        specs: one for each leaf.
        shapes: of the whole leaves.
    """

    mesh: Mesh | AbstractMesh
    specs: tuple[P, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[Any]) -> Shards | None:
        """As arrays or `jax.ShapeDtypeStruct`s have it; None if none of them is divided."""
        named = [sharding_of(leaf) for leaf in leaves]
        mesh = next((one.mesh for one in named if one is not None), None)
        if mesh is None:
            return None
        specs = tuple(P() if one is None else one.spec for one in named)
        return cls(mesh, specs, tuple(leaf.shape for leaf in leaves))

    @property
    def axes(self) -> tuple[str, ...]:
        """Those axes of the mesh along which some leaf is divided."""
        used = {name for spec in self.specs for name in _names(spec)}
        return tuple(name for name in self.mesh.axis_names if name in used)

    @property
    def leaves(self) -> list[P]:
        """How a list of leaves is divided."""
        return list(self.specs)

    @property
    def ahead(self) -> list[P]:
        """The same, of arrays with one more axis in front."""
        return [P(None, *spec) for spec in self.specs]

    def __call__(self, f: Callable[..., Any], *args: Any, given: Any, gives: Any) -> Any:
        """``f(*args)`` on each device with its blocks.

        ``given`` says for each argument how its arrays are divided, ``gives`` it of the result.
        Within a `shard_map` along these axes the arguments are blocks already.
        """
        if set(self.axes) <= set(axes_here()):
            return f(*args)
        run = jax.shard_map(f, mesh=self.mesh, in_specs=given, out_specs=gives, check_vma=False)
        return run(*args)

    def blocks(self) -> list[Block]:
        """A device's block of every leaf."""
        return [
            _block(shape, spec, self.mesh)
            for shape, spec in zip(self.shapes, self.specs, strict=True)
        ]

    def once(self, values: Sequence[Array]) -> list[Array]:
        """What this device adds to a sum over all, of values of each leaf's block.

        Those of a leaf of which several devices have the same block count on one of them.
        """
        return [
            jnp.where(self._first_of(spec), value, jnp.zeros_like(value))
            for value, spec in zip(values, self.specs, strict=True)
        ]

    def total(self, values: _T) -> _T:
        """The sum over all devices."""
        return lax.psum(values, self.axes)

    def gathered(self, leaves: Sequence[Array]) -> list[Array]:
        """The whole leaves, from all devices' blocks."""
        found = []
        for leaf, spec in zip(leaves, self.specs, strict=True):
            for axis in range(leaf.ndim):
                for name in reversed(_dim_names(spec, axis)):
                    leaf = lax.all_gather(leaf, name, axis=axis, tiled=True)
            found.append(leaf)
        return found

    def own(self, leaves: Sequence[Array], ahead: int = 0) -> list[Array]:
        """This device's blocks of whole leaves, which may have more axes in front."""
        found = []
        for leaf, block in zip(leaves, self.blocks(), strict=True):
            if block.divided:
                start, part = (0,) * ahead, leaf.shape[:ahead]
                leaf = lax.dynamic_slice(leaf, (*start, *block.start), (*part, *block.part))
            found.append(leaf)
        return found

    def _first_of(self, spec: P) -> Array:
        others = [name for name in self.axes if name not in _names(spec)]
        return jnp.all(jnp.asarray([lax.axis_index(name) == 0 for name in others], bool))


def zeros_for(params: PyTree, count: int) -> list[Array]:
    """``count`` zeros for each parameter, (count, *shape) for each leaf and divided as leaves are.

    In float32, or wider where one of them is.
    """
    found, leaves = [], jax.tree.leaves(params)
    dtype = wide_type(*(leaf.dtype for leaf in leaves))
    for leaf in leaves:
        sharding = sharding_of(leaf)
        if sharding is not None:
            sharding = NamedSharding(sharding.mesh, P(None, *sharding.spec))  # pyright: ignore
        found.append(jnp.zeros((count, *leaf.shape), dtype, device=sharding))
    return found


def axes_here() -> tuple[str, ...]:
    """The axes of a mesh along which this is traced for one device of several, by `shard_map`."""
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(name for name in mesh.manual_axes if mesh.shape[name] > 1)


def _block(shape: tuple[int, ...], spec: P, mesh: Mesh | AbstractMesh) -> Block:
    axes = tuple(_dim_names(spec, axis) for axis in range(len(shape)))
    counts = (prod(mesh.shape[name] for name in names) for names in axes)
    part = tuple(size // count for size, count in zip(shape, counts, strict=True))
    return Block(shape, part, axes)


def sharding_of(leaf: Any) -> NamedSharding | None:
    """Of an array or a `jax.ShapeDtypeStruct`; None where it isn't divided, as far as is known."""
    typed = jax.typeof(leaf) if isinstance(leaf, Tracer) else leaf
    found = getattr(typed, "sharding", None)
    if not isinstance(found, NamedSharding):
        return None
    return found if any(found.mesh.shape[name] > 1 for name in _names(found.spec)) else None


def _names(spec: P) -> list[str]:
    return [name for axis in range(len(spec)) for name in _dim_names(spec, axis)]


def _dim_names(spec: P, axis: int) -> tuple[str, ...]:
    """The mesh axes that divide an axis of an array, the slowest first."""
    names = spec[axis] if axis < len(spec) else None
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)
