"""Whether weights that were made again are those that were meant, here or on another device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from subspace.errors import InvalidInput

_SUMS = 4  # with different signs
_ROUNDING = 1e-4  # of an array's length, by which a sum may differ on another device


def of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A digest of all bits, and a few sums, which rounding moves a little.

    Another device, or version of JAX, rounds otherwise: then the digest differs and the sums still
    agree, while an array in which something went wrong has other sums.
    """
    sums = [float(f"{one:.7g}") for one in _total(arrays)]
    return {"digest": digest(arrays), "sums": sums}


def check(arrays: Mapping[str, np.ndarray], meant: Mapping[str, Any], file: Path) -> bool:
    """Whether all bits are those that were meant.

    Raises:
        InvalidInput: of ``file``: they are other weights, beyond rounding.
    """
    if digest(arrays) == meant["digest"]:
        return True
    allowed = _ROUNDING * max(len(arrays), 1) ** 0.5
    if not np.allclose(_total(arrays), meant["sums"], rtol=0, atol=allowed):
        raise InvalidInput(
            "file", f"{file} makes other weights here than were exported; export the run again"
        )
    return False


def _total(arrays: Mapping[str, np.ndarray]) -> Float[np.ndarray, " k"]:
    """The sums of all arrays, each measured by its own length, so that none hides another."""
    each = [_sums(array) / _length(array) for _, array in sorted(arrays.items())]
    return np.sum(each, axis=0) if each else np.zeros(_SUMS)


def _sums(array: np.ndarray) -> Float[np.ndarray, " k"]:
    """Sums of an array's entries with signs that depend on their places alone."""
    flat = array.astype(np.float64).ravel()
    place = np.arange(flat.size, dtype=np.uint64)
    sums = []
    for k in range(_SUMS):  # the top bit of a multiplicative hash
        mixed = (place + np.uint64(k + 1)) * np.uint64(0x9E3779B97F4A7C15 + 2 * k)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        sums.append(flat @ np.where(mixed >> np.uint64(63), 1.0, -1.0))
    return np.array(sums)


def _length(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64))) or 1.0


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of names, dtypes, shapes and bytes, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]
