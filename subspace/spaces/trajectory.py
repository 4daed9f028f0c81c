"""The subspace that a training trajectory spans: its principal directions (DLDR)."""

from __future__ import annotations

from math import prod
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Num, PyTree

from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.components import principal_components
from subspace.spaces.partition import Partition, divide
from subspace.spaces.shards import Shards

_BLOCK = 1 << 20  # columns of rows of another type that are converted together
_NAME = "trajectory"


@final
class TrajectorySubspace(AbstractSubspace):
    """The span of orthonormal rows, fixed: ``params = start + rowsᵀ z``.

    Attributes:
        rows: (d, D), orthonormal. As float16 they take half the memory, and are orthonormal to
            three digits; products are in float32.
        explained_variance_ratio: of every direction that the trajectory has, decreasing; (t-1,) at
            most, of which the first d are the rows'.
        variances: of the trajectory along each of the rows, decreasing.
        length: the distance from the first sample to the last one.
        partition: how parameters become one flat vector.
    """

    rows: Float[Array, "d n"]
    explained_variance_ratio: Float[Array, " r"]
    variances: Float[Array, " d"]
    length: Float[Array, ""]
    partition: Partition = eqx.field(static=True)
    shards: Shards | None = eqx.field(static=True, default=None)

    @classmethod
    def fit(
        cls,
        samples: Num[np.ndarray | Array, "t n"],
        dim: int | float | None,
        params: PyTree,
        divided: bool = False,
        centred: bool = True,
    ) -> TrajectorySubspace:
        """Principal component analysis of samples, centred on their mean.

        See `subspace.spaces.components`. The samples may be a memory map larger than memory.

        Args:
            samples: a flattened copy of the parameters in each row, in `Partition.split`'s order.
            dim: how many directions, or the fraction of the variance that they must explain, as
                a float below 1; None for all that there are.
            params: the parameters, or their `jax.ShapeDtypeStruct`s.
            divided: the processes of a run share the work on the Gram matrix, t² D
                multiplications; each holds all samples and must call this.
            centred: about the samples' mean; else about 0, so that all ``dim=None`` directions span
                every weighted sum of the samples, as a Gram-Schmidt process does.

        Raises:
            InvalidInput: ``dim`` is not positive or exceeds t - 1, or if not centred t; the shapes
                don't fit.
        """
        samples = _checked(samples)
        partition = divide(params, lambda path, leaf: _NAME)
        size = partition.sizes[_NAME]
        if samples.shape[1] != size:
            raise InvalidInput(
                "samples",
                f"have {samples.shape[1]} parameters, the model {size}; "
                "use the trajectory of the same model",
            )
        if not jnp.issubdtype(samples.dtype, jnp.floating):
            samples = samples.astype(np.float32)  # rows are of the samples' type
        found = principal_components(samples, dim, divided, centred)
        numbers = (found.ratio, found.variances, found.length)
        ratio, variances, length = (jnp.asarray(one, jnp.float32) for one in numbers)
        rows, shards = jax.device_put(found.rows), Shards.of(jax.tree.leaves(params))
        return cls(rows, ratio, variances, length, partition, shards)

    def origin(self) -> Coords:
        return {_NAME: jnp.zeros(self.rows.shape[0], self.partition.dtypes[_NAME])}

    def project(self, tree: PyTree) -> Coords:
        if self.shards is not None:
            leaves = self.partition.leaves_of(tree)
            given = (P(), self.shards.leaves)
            return self.shards(_project_here, self, leaves, given=given, gives=P())
        vector = self.partition.split(tree)[_NAME]
        if self.rows.dtype == vector.dtype:
            return {_NAME: self.rows @ vector}

        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
            start, part = block
            return total + self._full(start, len(part)) @ part, None

        whole, starts = self._divided()
        parts = vector[:whole].reshape(len(starts), -1)
        total, _ = jax.lax.scan(add, self.origin()[_NAME], (starts, parts))
        return {_NAME: total + self._full(whole, vector.size - whole) @ vector[whole:]}

    def lift(self, coords: Coords) -> PyTree:
        if self.shards is not None:
            given, gives = (P(), P()), self.shards.leaves
            return self.partition.tree_of(
                self.shards(_lift_here, self, coords, given=given, gives=gives)
            )
        z, size = coords[_NAME], self.rows.shape[1]
        if self.rows.dtype == z.dtype:
            return self.partition.join({_NAME: z @ self.rows})
        whole, starts = self._divided()
        width = whole // len(starts)
        parts = jax.lax.map(lambda start: z @ self._full(start, width), starts)
        rest = z @ self._full(whole, size - whole)
        return self.partition.join({_NAME: jnp.concatenate([parts.reshape(-1), rest])})

    def _divided(self) -> tuple[int, Array]:
        """Where blocks of rows start that are converted one after another, and end."""
        size = self.rows.shape[1]
        width = min(_BLOCK, size)
        whole = size // width * width
        return whole, jnp.arange(0, whole, width)

    def _full(self, start: int | Array, width: int) -> Float[Array, "d b"]:
        """Columns of rows, in the type of coordinates."""
        columns = jax.lax.dynamic_slice_in_dim(self.rows, start, width, 1)
        return columns.astype(self.partition.dtypes[_NAME])

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        coords = self.project(tree)
        return coords, self.lift(coords)

    def knows(self, axis: str) -> bool:
        return self.shards is not None and axis in self.shards.axes

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        return self, coords


def _checked(samples: Any) -> Num[np.ndarray, "t n"]:
    """Samples as an array of NumPy's, of which a memory map is one."""
    if isinstance(samples, jax.Array):
        samples = np.asarray(samples)
    if not isinstance(samples, np.ndarray) or samples.ndim != 2:
        have = getattr(samples, "shape", type(samples).__name__)
        raise InvalidInput(
            "samples",
            f"must be a matrix, in each row the flattened parameters of one sample, got {have}; "
            "jax.flatten_util.ravel_pytree flattens a tree",
        )
    return samples


def _project_here(space: TrajectorySubspace, leaves: list[Array]) -> Coords:
    """`TrajectorySubspace.project` on one of the devices over which parameters are divided."""
    shards, rows = _own_rows(space)
    each = [jnp.tensordot(row, leaf, leaf.ndim) for row, leaf in zip(rows, leaves, strict=True)]
    each = shards.once(each)
    return {_NAME: shards.total(sum(each[1:], start=each[0]))}


def _lift_here(space: TrajectorySubspace, coords: Coords) -> list[Array]:
    _, rows = _own_rows(space)
    return [
        jnp.tensordot(coords[_NAME], row, 1).astype(leaf.dtype)
        for row, leaf in zip(rows, space.partition.leaves, strict=True)
    ]


def _own_rows(space: TrajectorySubspace) -> tuple[Shards, list[Array]]:
    """The columns of this device's block of each leaf, in the type of coordinates."""
    assert space.shards is not None
    shapes = [leaf.shape for leaf in space.partition.leaves]
    ends = np.cumsum([prod(shape) for shape in shapes])[:-1]
    dtype = space.partition.dtypes[_NAME]
    each = [
        part.reshape(-1, *shape).astype(dtype)
        for part, shape in zip(jnp.split(space.rows, ends, axis=1), shapes, strict=True)
    ]
    return space.shards, space.shards.own(each, ahead=1)
