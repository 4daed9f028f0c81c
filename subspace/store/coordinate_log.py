"""The coordinates of every step of a phase, from which its weights can be rebuilt."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from subspace import files
from subspace.errors import InvalidInput
from subspace.spaces.base import Coords

_AT_ONCE = 64  # steps that are written together
_MOST = 1 << 35  # bytes of a log


class CoordinateLog:
    """A file of records, one a step: d float32 coordinates, then a CRC-32: 4·(d + 1) bytes.

    The CRC-32 is of all coordinates so far, so that a record that is missing shows.

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
        self._check = 0

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
        records["check"] = _checks(records["coordinates"], self._check)
        self._waiting.clear()
        self._check = int(records["check"][-1])
        files.append(self.file, records.tobytes())

    def clear(self) -> None:
        """Forgets all records."""
        self.file.unlink(missing_ok=True)
        self._check = 0

    def cut(self, step: int) -> None:
        """Forgets the records after a step.

        Raises:
            InvalidInput: the file lacks whole records up to it.
        """
        count = step - self._first_step
        rows = self.read("resume")
        if len(rows) < count:
            raise InvalidInput(
                "resume", f"{self.file} is damaged; start the run again with another --out"
            )
        self._check = _checks(rows[:count], 0)[-1] if count else 0
        if count or self.file.exists():
            os.truncate(self.file, count * self._record.itemsize)

    def read(self, field: str = "run") -> Float[np.ndarray, "steps d"]:
        """The coordinates of every step up to the first record that isn't whole.

        Raises:
            InvalidInput: of ``field``: it is no regular file, or can't be read.
        """
        if not os.path.lexists(self.file):
            return np.zeros((0, *self._record["coordinates"].shape), np.float32)
        held = files.read(self.file, field, most=_MOST)
        records = np.frombuffer(held, self._record, len(held) // self._record.itemsize)
        coordinates = records["coordinates"]
        differ = np.flatnonzero(np.asarray(_checks(coordinates, 0), np.uint32) != records["check"])
        return coordinates[: differ[0] if len(differ) else len(coordinates)]


def _checks(rows: Float[np.ndarray, "steps d"], before: int) -> list[int]:
    """The check of each record, after one of those before."""
    found = []
    for row in rows:
        before = zlib.crc32(row.tobytes(), before)
        found.append(before)
    return found


@jax.jit
def _raveled(coords: Coords) -> Float[Array, " d"]:
    """In one array of its own, as the next step takes the optimizer's."""
    return ravel_pytree(coords)[0]
