"""The subspace that a training trajectory spans: its principal directions (DLDR)."""

from __future__ import annotations

import warnings
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from subspace import distributed
from subspace.core import AbstractSubspace, Coords
from subspace.errors import InvalidInput
from subspace.partition import Partition, divide

_BLOCK = 1 << 14  # columns of the snapshots that are worked on together
_NAME = "trajectory"


@final
class TrajectorySubspace(AbstractSubspace):
    """The span of orthonormal rows, fixed: ``params = start + rowsᵀ z``.

    Attributes:
        rows: (d, D), orthonormal.
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
        snapshots: Float[np.ndarray, "t n"],
        dim: int | float,
        params: PyTree,
        divided: bool = False,
    ) -> TrajectorySubspace:
        """Principal component analysis of snapshots, centred on their mean.

        From the eigenvectors v of the centred Gram matrix ``W Wᵀ`` (t×t, float64, accumulated in
        blocks): rows ``vᵀ W / σ``. Never makes a second copy of the snapshots, which may be a
        memory map.

        Args:
            snapshots: a flattened copy of the parameters in each row, in `Partition.split`'s order.
            dim: how many directions, or the fraction of the variance that they must explain, as
                a float below 1.
            params: the parameters, or their `jax.ShapeDtypeStruct`s.
            divided: the processes of a run share the work on the Gram matrix, t² D
                multiplications; each holds all snapshots and must call this.

        Raises:
            InvalidInput: ``dim`` is not positive or exceeds t - 1, or the shapes don't fit.
        """
        partition = divide(params, lambda path, leaf: _NAME)
        count, size = snapshots.shape
        if size != partition.sizes[_NAME]:
            raise InvalidInput(
                "snapshots",
                f"have {size} parameters, the model {partition.sizes[_NAME]}; "
                "use the trajectory of the same model",
            )
        if not (0 < dim < 1 or (dim == int(dim) and 1 <= dim <= count - 1)):
            raise InvalidInput(
                "dim",
                f"{dim} is neither from 1 to {count - 1}, which {count} snapshots allow, nor a "
                "fraction of the variance below 1; lower it or take more snapshots",
            )
        mean = _mean(snapshots)
        blocks = _blocks(size)
        if divided:
            mine = blocks[jax.process_index() :: jax.process_count()]
            gram = distributed.summed(_gram(snapshots, mean, mine))
        else:
            gram = _gram(snapshots, mean, blocks)
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
        weights = vectors[:, kept] / np.sqrt(values[kept])
        rows = _orthonormal(_combine(snapshots, mean, weights))
        return cls(jax.device_put(rows), jnp.asarray(ratio, jnp.float32), partition)

    def origin(self) -> Coords:
        return {_NAME: jnp.zeros(self.rows.shape[0], self.rows.dtype)}

    def project(self, tree: PyTree) -> Coords:
        return {_NAME: self.rows @ self.partition.split(tree)[_NAME]}

    def lift(self, coords: Coords) -> PyTree:
        return self.partition.join({_NAME: coords[_NAME] @ self.rows})

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        coords = self.project(tree)
        return coords, self.lift(coords)

    def redraw(self, coords: Coords) -> tuple[AbstractSubspace, Coords]:
        return self, coords


def explained_variance_ratio(snapshots: Float[np.ndarray, "t n"]) -> Float[np.ndarray, " r"]:
    """What `TrajectorySubspace.fit` would find: the share of each direction, decreasing.

    Raises:
        InvalidInput: the snapshots are all equal.
    """
    values, _ = _principal(_gram(snapshots, _mean(snapshots), _blocks(snapshots.shape[1])))
    return values / values.sum()


def _mean(snapshots: Float[np.ndarray, "t n"]) -> Float[np.ndarray, " n"]:
    return snapshots.mean(axis=0, dtype=np.float64).astype(np.float32)


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]


def _centred(
    snapshots: Float[np.ndarray, "t n"], mean: Float[np.ndarray, " n"], block: slice
) -> Float[np.ndarray, "t b"]:
    """A block of W, the snapshots less their mean, in float64."""
    part = snapshots[:, block].astype(np.float64)
    part -= mean[block]
    return part


def _gram(
    snapshots: Float[np.ndarray, "t n"], mean: Float[np.ndarray, " n"], blocks: list[slice]
) -> np.ndarray:
    """``W Wᵀ`` of the centred snapshots, in float64, or some columns' part of it."""
    gram = np.zeros((len(snapshots), len(snapshots)))
    for block in blocks:
        part = _centred(snapshots, mean, block)
        gram += part @ part.T
    return gram


def _principal(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, decreasing, of the directions that there are, and their eigenvectors."""
    count = len(gram)
    centre = np.eye(count) - 1 / count  # removes what rounding the mean to float32 left
    values, vectors = np.linalg.eigh(centre @ gram @ centre)
    values, vectors = values[::-1], vectors[:, ::-1]
    there = values > max(values[0], np.finfo(np.float64).tiny) * 1e-12
    there[count - 1] = False
    if not there.any():
        raise InvalidInput("snapshots", "are all equal; record them while the parameters move")
    return values[there], vectors[:, there]


def _combine(
    snapshots: Float[np.ndarray, "t n"], mean: Float[np.ndarray, " n"], weights: np.ndarray
) -> Float[np.ndarray, "d n"]:
    """``weightsᵀ W`` of the centred snapshots."""
    rows = np.empty((weights.shape[1], snapshots.shape[1]), np.float32)
    for block in _blocks(snapshots.shape[1]):
        rows[:, block] = weights.T @ _centred(snapshots, mean, block)
    return rows


def _orthonormal(rows: Float[np.ndarray, "d n"]) -> Float[np.ndarray, "d n"]:
    """The rows, made orthonormal to float32 rounding, in place (Cholesky of their Gram matrix)."""
    gram = np.zeros((len(rows), len(rows)))
    for block in _blocks(rows.shape[1]):
        part = rows[:, block].astype(np.float64)
        gram += part @ part.T
    correction = np.linalg.inv(np.linalg.cholesky(gram)).astype(np.float32)
    for block in _blocks(rows.shape[1]):
        rows[:, block] = correction @ rows[:, block]
    return rows
