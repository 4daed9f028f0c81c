"""Images that are read when they are asked for, and what training steps see of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

_WINDOW = 2048  # images that are read together, at least a batch


class Streamed:
    """Images on disk that are indexed like ``uint8 (N, H, W, C)``.

    Args:
        read: takes places in the file, ``(n,)``, and returns those images.
        shape: ``(N, H, W, C)``; N is replaced by how many ``rows`` there are.
        rows: which of the file's images these are; all by default.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        rows: np.ndarray | None = None,
    ):
        self._read = read
        self._rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        wanted = self._rows[rows]
        if not wanted.size:
            return np.zeros((0, *self.shape[1:]), np.uint8)
        return self._read(wanted)

    def part(self, rows: Any) -> Streamed:
        """Some of them, not read."""
        return Streamed(self._read, self.shape, self._rows[rows])


class Feed:
    """The training split as steps see it: whole on the devices, or a window of it after another.

    A step takes the inputs and targets that the devices have, and the places of its batch among
    them: with the whole split that is the epoch's order, with windows, which hold the epoch's
    examples in order, the place in the window. So it is the same step, and the same batches.

    Args:
        inputs: (N, ...), or `Streamed`.
        targets: (N, ...).
        placed: puts arrays on every device.
    """

    def __init__(self, inputs: Any, targets: np.ndarray, placed: Callable[[Any], Any]):
        self._inputs, self._targets, self._placed = inputs, np.asarray(targets), placed
        self._reader: ThreadPoolExecutor | None = None
        self._whole = None
        if isinstance(inputs, Streamed):
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="subspace-images")
        else:
            self._whole = placed((np.asarray(inputs), self._targets))

    def begin(self, order: np.ndarray, batch_size: int) -> None:
        """Starts an epoch.

        Args:
            order: (steps × batch,), places in the split.
            batch_size: of a step.
        """
        self._order = order
        self._size = -(-_WINDOW // batch_size) * batch_size
        self._steps = self._size // batch_size
        self._now: tuple[int, Any] | None = None
        self._next: tuple[int, Future[Any]] | None = None
        local = order if self._whole else (np.arange(len(order)) % self._size).astype(np.int32)
        self._places = self._placed(local)

    def at(self, step: int) -> tuple[Any, Any, Any]:
        """What a step of the epoch takes: inputs, targets and places."""
        if self._whole:
            return (*self._whole, self._places)
        index = step // self._steps
        if self._now is None or self._now[0] != index:
            self._now = index, self._placed(self._window(index))
            self._ahead(index + 1)
        return (*self._now[1], self._places)

    def close(self) -> None:
        """Stops reading."""
        if self._reader is not None:
            self._reader.shutdown(wait=True, cancel_futures=True)

    def _window(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._next is not None and self._next[0] == index:
            return self._next[1].result()
        return self._read(self._order, index)

    def _ahead(self, index: int) -> None:
        """Reads a window while the one before it is used."""
        if self._reader is not None and index * self._size < len(self._order):
            self._next = index, self._reader.submit(self._read, self._order, index)

    def _read(self, order: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A window's inputs and targets; the last one's end is filled up."""
        rows = order[index * self._size : (index + 1) * self._size]
        missing = self._size - len(rows)
        return _filled(self._inputs[rows], missing), _filled(self._targets[rows], missing)


def _filled(rows: np.ndarray, missing: int) -> np.ndarray:
    """With so many zeros behind."""
    return np.pad(rows, ((0, missing), *((0, 0),) * (rows.ndim - 1)))
