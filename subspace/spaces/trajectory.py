"""The subspace that a training trajectory spans: its principal directions (DLDR)."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from subspace import distributed
from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.partition import Partition, divide

_BLOCK = 1 << 16  # columns of the samples that are worked on together
_HALF_BLOCK = 1 << 20  # columns of half rows that are made float32 together
_ALIGNMENT = 64  # bytes
_NAME = "trajectory"


@final
class TrajectorySubspace(AbstractSubspace):
    """The span of orthonormal rows, fixed: ``params = start + rowsᵀ z``.

    Attributes:
        rows: (d, D), orthonormal. As float16 they take half the memory, and are orthonormal to
            three digits; products are in float32.
        explained_variance_ratio: of every direction that the trajectory has, decreasing; (t-1,) at
            most, of which the first d are the rows'.
        partition: how parameters become one flat vector.
    """

    rows: Float[Array, "d n"]
    explained_variance_ratio: Float[Array, " r"]
    partition: Partition = eqx.field(static=True)

    @classmethod
    def fit(
        cls,
        samples: Float[np.ndarray, "t n"],
        dim: int | float,
        params: PyTree,
        divided: bool = False,
    ) -> TrajectorySubspace:
        """Principal component analysis of samples, centred on their mean.

        From the eigenvectors v of the centred Gram matrix ``W Wᵀ`` (t×t, float64, accumulated in
        blocks): rows ``vᵀ W / σ``, in the samples' precision. Never makes a second copy of the
        samples, which may be a memory map larger than memory: it is read three times.

        Args:
            samples: a flattened copy of the parameters in each row, in `Partition.split`'s order.
            dim: how many directions, or the fraction of the variance that they must explain, as
                a float below 1.
            params: the parameters, or their `jax.ShapeDtypeStruct`s.
            divided: the processes of a run share the work on the Gram matrix, t² D
                multiplications; each holds all samples and must call this.

        Raises:
            InvalidInput: ``dim`` is not positive or exceeds t - 1, or the shapes don't fit.
        """
        partition = divide(params, lambda path, leaf: _NAME)
        count, size = samples.shape
        if size != partition.sizes[_NAME]:
            raise InvalidInput(
                "samples",
                f"have {size} parameters, the model {partition.sizes[_NAME]}; "
                "use the trajectory of the same model",
            )
        if not (0 < dim < 1 or (dim == int(dim) and 1 <= dim <= count - 1)):
            raise InvalidInput(
                "dim",
                f"{dim} is neither from 1 to {count - 1}, which {count} samples allow, nor a "
                "fraction of the variance below 1; lower it or take more samples",
            )
        blocks = _blocks(size)
        if divided:
            mine = blocks[jax.process_index() :: jax.process_count()]
            gram = distributed.summed(_gram(samples, mine))
        else:
            gram = _gram(samples, blocks)
        values, vectors = _principal(gram)
        ratio = values / values.sum()
        if dim < 1:
            wanted = int(np.searchsorted(np.cumsum(ratio), dim) + 1)
            dim = min(wanted, len(values))
        if dim > len(values):
            warnings.warn(
                f"the trajectory spans only {len(values)} directions, fewer than dim={dim}",
                stacklevel=2,
            )
        kept = slice(0, int(dim))
        weights = _orthonormal(samples, vectors[:, kept] / np.sqrt(values[kept]))
        rows = _combined(samples, weights)
        return cls(jax.device_put(rows), jnp.asarray(ratio, jnp.float32), partition)

    def origin(self) -> Coords:
        return {_NAME: jnp.zeros(self.rows.shape[0], jnp.float32)}

    def project(self, tree: PyTree) -> Coords:
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
        z, size = coords[_NAME], self.rows.shape[1]
        if self.rows.dtype == z.dtype:
            return self.partition.join({_NAME: z @ self.rows})
        whole, starts = self._divided()
        width = whole // len(starts)
        parts = jax.lax.map(lambda start: z @ self._full(start, width), starts)
        rest = z @ self._full(whole, size - whole)
        return self.partition.join({_NAME: jnp.concatenate([parts.reshape(-1), rest])})

    def _divided(self) -> tuple[int, Array]:
        """Where blocks of half rows start that are made float32 one after another, and end."""
        size = self.rows.shape[1]
        width = min(_HALF_BLOCK, size)
        whole = size // width * width
        return whole, jnp.arange(0, whole, width)

    def _full(self, start: int | Array, width: int) -> Float[Array, "d b"]:
        """Columns of half rows, in float32."""
        return jax.lax.dynamic_slice_in_dim(self.rows, start, width, 1).astype(jnp.float32)

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        coords = self.project(tree)
        return coords, self.lift(coords)

    def redraw(self, coords: Coords) -> tuple[AbstractSubspace, Coords]:
        return self, coords


def explained_variance_ratio(samples: Float[np.ndarray, "t n"]) -> Float[np.ndarray, " r"]:
    """What `TrajectorySubspace.fit` would find: the share of each direction, decreasing.

    Raises:
        InvalidInput: the samples are all equal.
    """
    values, _ = _principal(_gram(samples, _blocks(samples.shape[1])))
    return values / values.sum()


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]


def _centred(
    samples: Float[np.ndarray, "t n"], blocks: list[slice]
) -> Iterator[tuple[slice, Float[np.ndarray, "t b"]]]:
    """Blocks of W, the samples less their mean, in float64."""
    for block in blocks:
        part = samples[:, block].astype(np.float64)
        part -= part.mean(axis=0)
        yield block, part
        _let_go(samples)


def _let_go(array: np.ndarray) -> None:
    """Memory that a map's file can be read into again."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        file_map = getattr(owner, "_mmap", None)
        if file_map is not None and hasattr(file_map, "madvise"):
            file_map.madvise(mmap.MADV_DONTNEED)
            return
        owner = owner.base


def _gram(samples: Float[np.ndarray, "t n"], blocks: list[slice]) -> np.ndarray:
    """``W Wᵀ`` of the centred samples, in float64, or some columns' part of it."""
    gram = np.zeros((len(samples), len(samples)))
    for _, part in _centred(samples, blocks):
        gram += part @ part.T
    return gram


def _principal(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, decreasing, of the directions that there are, and their eigenvectors."""
    count = len(gram)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(centre @ gram @ centre)
    values, vectors = values[::-1], vectors[:, ::-1]
    # what is smaller is rounding of the sums; t centred samples span t - 1 directions at most
    there = values > max(values[0], np.finfo(np.float64).tiny) * 1e-12
    there[count - 1] = False
    if not there.any():
        raise InvalidInput("samples", "are all equal; record them while the parameters move")
    return values[there], vectors[:, there]


def _orthonormal(samples: Float[np.ndarray, "t n"], weights: np.ndarray) -> np.ndarray:
    """Weights whose rows ``weightsᵀ W`` are orthonormal in float64, by a Cholesky factor."""
    # eigenvectors are exact to rounding of the largest eigenvalue, rows divided by a small σ aren't
    gram = np.zeros((weights.shape[1], weights.shape[1]))
    for _, part in _centred(samples, _blocks(samples.shape[1])):
        rows = weights.T @ part
        gram += rows @ rows.T
    return weights @ np.linalg.inv(np.linalg.cholesky(gram)).T


def _combined(samples: Float[np.ndarray, "t n"], weights: np.ndarray) -> Float[np.ndarray, "d n"]:
    """``weightsᵀ W`` of the centred samples, in their precision."""
    rows = _aligned((weights.shape[1], samples.shape[1]), samples.dtype)
    for block, part in _centred(samples, _blocks(samples.shape[1])):
        rows[:, block] = weights.T @ part
    return rows


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An empty array that JAX needn't copy to have on a CPU."""
    size = shape[0] * shape[1] * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
