"""Coordinates in fewer bytes: float32, bfloat16, or int8 with a scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from subspace.errors import one_of

KINDS = ("float32", "bfloat16", "int8")
_MOST = 127

Arrays = Mapping[str, np.ndarray]


def packed(arrays: Arrays, kind: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Numbers as a file keeps them, and of int8 what each array is to be multiplied with.

    bfloat16 is kept as the upper halves of float32, uint16, rounded to even; int8 is the nearest of
    255 steps up to the largest magnitude of its array.

    Raises:
        InvalidInput: there is no such kind.
    """
    one_of("numbers", kind, KINDS)
    if kind == "float32":
        return {name: np.asarray(x, np.float32) for name, x in arrays.items()}, {}
    if kind == "bfloat16":
        halves = {name: np.asarray(jnp.asarray(x, jnp.bfloat16)) for name, x in arrays.items()}
        return {name: x.view(np.uint16) for name, x in halves.items()}, {}
    scales = {name: _scale(x) for name, x in arrays.items()}
    steps = {name: np.rint(x / np.float32(scales[name])) for name, x in arrays.items()}
    return {name: x.astype(np.int8) for name, x in steps.items()}, scales


def unpacked(arrays: Arrays, scales: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `packed`, float32."""
    found = {}
    for name, x in arrays.items():
        if x.dtype == np.uint16:
            found[name] = (x.astype(np.uint32) << 16).view(np.float32)
        elif x.dtype == np.int8:
            found[name] = x.astype(np.float32) * np.float32(scales[name])
        else:
            found[name] = x.astype(np.float32)
    return found


def _scale(x: np.ndarray) -> float:
    """A step's length, as a file keeps it: in seven digits."""
    largest = float(np.abs(x).max(initial=0.0))
    return float(f"{largest / _MOST:.7g}") or 1.0
