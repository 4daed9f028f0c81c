"""The coordinates of every step of a phase, from which its weights can be rebuilt."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from subspace.errors import InvalidInput
from subspace.spaces.base import Coords

_AT_ONCE = 64  # steps that are written together


class CoordinateLog:
    """A file of records, one a step: d float32 coordinates, then their CRC-32: 4·(d + 1) bytes.

    Args:
        file: the file, all little endian.
        dimensions: d.
        first_step: of the phase; the first record is of the step after it.
    """

    def __init__(self, file: Path, dimensions: int, first_step: int):
        self.file = file
        self._record = np.dtype([("coordinates", "<f4", (dimensions,)), ("check", "<u4")])
        self._first_step = first_step
        self._waiting: list[Float[Array, " d"]] = []

    def append(self, coords: Coords) -> None:
        """Adds a step's; it is on disk after `flush`."""
        self._waiting.append(_raveled(coords))
        if len(self._waiting) == _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Writes what was appended."""
        if not self._waiting:
            return
        records = np.zeros(len(self._waiting), self._record)
        records["coordinates"] = np.stack([np.asarray(z) for z in self._waiting])
        records["check"] = [zlib.crc32(z.tobytes()) for z in records["coordinates"]]
        self._waiting.clear()
        with self.file.open("ab") as file:
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def clear(self) -> None:
        """Forgets all records."""
        self.file.unlink(missing_ok=True)

    def cut(self, step: int) -> None:
        """Forgets the records after a step.

        Raises:
            InvalidInput: the file lacks whole records up to it.
        """
        count = step - self._first_step
        if len(self.read()) < count:
            raise InvalidInput(
                "resume", f"{self.file} is damaged; start the run again with another --out"
            )
        if count or self.file.exists():
            os.truncate(self.file, count * self._record.itemsize)

    def read(self) -> Float[np.ndarray, "steps d"]:
        """The coordinates of every step up to the first record that isn't whole."""
        if not self.file.exists():
            return np.zeros((0, *self._record["coordinates"].shape), np.float32)
        held = self.file.read_bytes()
        records = np.frombuffer(held, self._record, len(held) // self._record.itemsize)
        good = [zlib.crc32(r["coordinates"].tobytes()) == r["check"] for r in records]
        return records["coordinates"][: good.index(False) if False in good else len(good)]


@jax.jit
def _raveled(coords: Coords) -> Float[Array, " d"]:
    """In one array of its own, as the next step takes the optimizer's."""
    return ravel_pytree(coords)[0]
