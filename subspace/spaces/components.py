"""Principal components of the samples of a trajectory, in blocks of columns.

From the eigenvectors v of the Gram matrix ``W Wᵀ`` (t×t, float64) of t samples, usually centred:
rows ``vᵀ W / σ``, in the samples' precision. Never makes a second copy of the samples, which may
be a memory map larger than memory: it is read three times.
"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from subspace import distributed
from subspace.errors import InvalidInput

_BLOCK = 1 << 16  # columns of the samples that are worked on together
_ALIGNMENT = 64  # bytes


class Components(NamedTuple):
    """What a trajectory consists of.

    Attributes:
        rows: orthonormal, d of the principal directions.
        ratio: the share of the variance of every direction that there is.
        variances: along each of the rows.
        length: from the first sample to the last one.
    """

    rows: Float[np.ndarray, "d n"]
    ratio: Float[np.ndarray, " r"]
    variances: Float[np.ndarray, " d"]
    length: float


def principal_components(
    samples: Float[np.ndarray, "t n"], dim: int | float | None, divided: bool, centred: bool
) -> Components:
    """The principal directions of samples.

    Arguments and errors as `subspace.TrajectorySubspace.fit`'s.
    """
    count, size = samples.shape
    most = count - 1 if centred else count
    if dim is not None and not (0 < dim < 1 or (dim == int(dim) and 1 <= dim <= most)):
        raise InvalidInput(
            "dim",
            f"{dim} is neither from 1 to {most}, which {count} samples allow, nor a "
            "fraction of the variance below 1; lower it or take more samples",
        )
    if divided:
        mine = _blocks(size)[jax.process_index() :: jax.process_count()]
        gram = distributed.summed(_gram(samples, mine, centred))
    else:
        gram = _gram(samples, _blocks(size), centred)
    values, vectors = _principal(gram, centred)
    ratio = values / values.sum()
    if dim is None:
        dim = len(values)
    elif dim < 1:
        wanted = int(np.searchsorted(np.cumsum(ratio), dim) + 1)
        dim = min(wanted, len(values))
    elif dim > len(values):
        warnings.warn(
            f"the trajectory spans only {len(values)} directions, fewer than dim={dim}",
            stacklevel=3,
        )
    kept = slice(0, int(dim))
    weights = _orthonormal(samples, vectors[:, kept] / np.sqrt(values[kept]), centred)
    length = np.sqrt(max(gram[0, 0] + gram[-1, -1] - 2 * gram[0, -1], 0))
    rows = _combined(samples, weights, centred)
    return Components(rows, ratio, values[kept] / count, float(length))


def explained_variance_ratio(samples: Float[np.ndarray, "t n"]) -> Float[np.ndarray, " r"]:
    """What `TrajectorySubspace.fit` would find: the share of each direction, decreasing.

    Raises:
        InvalidInput: the samples are all equal.
    """
    values, _ = _principal(_gram(samples, _blocks(samples.shape[1]), True), True)
    return values / values.sum()


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]


def _parts(
    samples: Float[np.ndarray, "t n"], blocks: list[slice], centred: bool
) -> Iterator[tuple[slice, Float[np.ndarray, "t b"]]]:
    """Blocks of W, the samples or what they are more than their mean, in float64."""
    for block in blocks:
        part = samples[:, block].astype(np.float64)
        if centred:
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


def _gram(samples: Float[np.ndarray, "t n"], blocks: list[slice], centred: bool) -> np.ndarray:
    """``W Wᵀ``, in float64, or some columns' part of it."""
    gram = np.zeros((len(samples), len(samples)))
    for _, part in _parts(samples, blocks, centred):
        gram += part @ part.T
    return gram


def _principal(gram: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, decreasing, of the directions that there are, and their eigenvectors."""
    count = len(gram)
    if not np.isfinite(gram).all():
        raise InvalidInput(
            "samples", "hold numbers that are not finite; leave out those after training diverged"
        )
    if centred:
        centre = np.eye(count) - 1 / count
        gram = centre @ gram @ centre
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    # what is smaller is rounding of the sums; t centred samples span t - 1 directions at most
    there = values > max(values[0], np.finfo(np.float64).tiny) * 1e-12
    there[count - 1] &= not centred
    if not there.any():
        raise InvalidInput("samples", "are all equal; record them while the parameters move")
    return values[there], vectors[:, there]


def _orthonormal(
    samples: Float[np.ndarray, "t n"], weights: np.ndarray, centred: bool
) -> np.ndarray:
    """Weights whose rows ``weightsᵀ W`` are orthonormal in float64, by a Cholesky factor."""
    # eigenvectors are exact to rounding of the largest eigenvalue, rows divided by a small σ aren't
    gram = np.zeros((weights.shape[1], weights.shape[1]))
    for _, part in _parts(samples, _blocks(samples.shape[1]), centred):
        rows = weights.T @ part
        gram += rows @ rows.T
    return weights @ np.linalg.inv(np.linalg.cholesky(gram)).T


def _combined(
    samples: Float[np.ndarray, "t n"], weights: np.ndarray, centred: bool
) -> Float[np.ndarray, "d n"]:
    """``weightsᵀ W``, in the samples' precision."""
    rows = _aligned((weights.shape[1], samples.shape[1]), samples.dtype)
    for block, part in _parts(samples, _blocks(samples.shape[1]), centred):
        rows[:, block] = weights.T @ part
    return rows


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An empty array that JAX needn't copy to have on a CPU."""
    size = shape[0] * shape[1] * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
