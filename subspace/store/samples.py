"""A trajectory on disk: the parameters and the model's state at regular steps of a phase."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from subspace import files
from subspace.errors import InvalidInput


class Samples:
    """A file of float32 or float16 rows, one for each sample, appended as training goes.

    A CRC-32 of each lies beside it, in a file of its name and ``.crc32``.

    The rows at a step follow from the step alone, so that a resumed run keeps those that it has
    had and takes the others again.

    Args:
        file: whose suffix, ``.f32`` or ``.f16``, says in which precision; read with
            ``numpy.memmap(file, numpy.float32).reshape(-1, size)``.
        size: numbers in a row: the D parameters, then the model's state.
        first_step: of the phase, at which the first sample is taken.
        every: steps between samples.
        writes: False in a process that leaves writing to another.
    """

    def __init__(self, file: Path, size: int, first_step: int, every: int, writes: bool = True):
        self.file, self.size, self.writes = file, size, writes
        self._first_step, self._every = first_step, every

    def due(self, step: int) -> bool:
        return (step - self._first_step) % self._every == 0

    def clear(self) -> None:
        if self.writes:
            self.file.unlink(missing_ok=True)
            _checks(self.file).unlink(missing_ok=True)

    def append(self, row: Float[np.ndarray, " size"]) -> None:
        """Adds a sample; it is on disk on return."""
        if not self.writes:
            return
        row = np.asarray(row, _kind(self.file))
        files.append(self.file, row.tobytes())
        files.append(_checks(self.file), _check(row))

    def cut(self, step: int) -> None:
        """Forgets the samples after a step.

        Raises:
            InvalidInput: the file lacks samples up to it.
        """
        rows = (step - self._first_step) // self._every + 1
        row = self.size * _kind(self.file).itemsize
        for file, each in ((self.file, row), (_checks(self.file), 4)):
            if files.size_of(file, "resume") < rows * each:
                raise InvalidInput("resume", f"{file} is cut short; start the run again elsewhere")
            if self.writes:
                os.truncate(file, rows * each)

    def rows(self) -> Float[np.ndarray, "t size"]:
        """All samples, as a read-only memory map."""
        return read_rows(self.file, self.size)


def write_rows(file: Path, rows: Float[np.ndarray, "t size"]) -> None:
    """Makes a file of samples as a whole."""
    files.replace(_checks(file), map(_check, rows))
    files.replace(file, (row.tobytes() for row in rows))


def read_rows(file: Path, size: int, field: str = "resume") -> Float[np.ndarray, "t size"]:
    """The samples in a file, as a read-only memory map.

    Raises:
        InvalidInput: there is no such file, or it doesn't hold rows of this size as they were
            written.
    """
    kind = _kind(file)
    count, rest = divmod(files.size_of(file, field), kind.itemsize * size)
    checks = files.read(_checks(file), field)
    if rest or not count or len(checks) != 4 * count:
        raise InvalidInput(field, f"the trajectory {file} is damaged, or of another model")
    rows = np.memmap(file, kind, "r").reshape(-1, size)
    for number, row in enumerate(rows):
        if _check(row) != checks[4 * number : 4 * number + 4]:
            raise InvalidInput(
                field, f"the trajectory {file} is damaged: sample {number} of {count}"
            )
    return rows


def _check(row: np.ndarray) -> bytes:
    """The CRC-32 of a sample, little endian."""
    return zlib.crc32(row.tobytes()).to_bytes(4, "little")


def _checks(file: Path) -> Path:
    """Where the checks of a file's samples lie."""
    return file.with_name(f"{file.name}.crc32")


def _kind(file: Path) -> np.dtype:
    return np.dtype(np.float16 if file.suffix == ".f16" else np.float32)
