"""A trajectory on disk: the parameters and the model's state at regular steps of a phase."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from subspace.errors import InvalidInput


class Samples:
    """A file of float32 or float16 rows, one for each sample, appended as training goes.

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

    def append(self, row: Float[np.ndarray, " size"]) -> None:
        """Adds a sample; it is on disk on return."""
        if not self.writes:
            return
        with self.file.open("ab") as file:
            file.write(np.asarray(row, _kind(self.file)).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Forgets the samples after a step.

        Raises:
            InvalidInput: the file lacks samples up to it.
        """
        rows = (step - self._first_step) // self._every + 1
        wanted = rows * self.size * _kind(self.file).itemsize
        have = self.file.stat().st_size if self.file.exists() else 0
        if have < wanted:
            raise InvalidInput(
                "resume", f"{self.file} is cut short; start the run again with another --out"
            )
        if self.writes:
            os.truncate(self.file, wanted)

    def rows(self) -> Float[np.ndarray, "t size"]:
        """All samples, as a read-only memory map."""
        return read_rows(self.file, self.size)


def read_rows(file: Path, size: int, field: str = "resume") -> Float[np.ndarray, "t size"]:
    """The samples in a file, as a read-only memory map.

    Raises:
        InvalidInput: there is no such file, or it doesn't hold rows of this size.
    """
    held, kind = file.stat().st_size if file.exists() else 0, _kind(file)
    if not held or held % (kind.itemsize * size):
        what = "damaged, or of another model" if held else "missing"
        raise InvalidInput(field, f"the trajectory {file} is {what}")
    return np.memmap(file, kind, "r").reshape(-1, size)


def _kind(file: Path) -> np.dtype:
    return np.dtype(np.float16 if file.suffix == ".f16" else np.float32)
