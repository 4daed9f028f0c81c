"""Ctrl-C and SIGTERM as a request to stop after the step in hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import typer


class StopSignals:
    """Catches SIGINT and SIGTERM while it is entered.

    The first one is a request, to be asked for with `requested`; the second ends the process at
    once. Where there is nothing to save yet, so does the first.

    Attributes:
        number: the signal that came, or None.
    """

    def __init__(self, nothing_to_save: Callable[[], bool]):
        self.number: int | None = None
        self._nothing_to_save = nothing_to_save
        self._previous: dict[int, Any] = {}

    def requested(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal: 130 or 143."""
        return 128 + (self.number or 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is _StopNow:
            typer.echo("Stopped before training; nothing was written.", err=True)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number
        if self._nothing_to_save():
            raise _StopNow(self.exit_code)
        signal.signal(number, signal.SIG_DFL)  # acts even while the main thread is compiling


class _StopNow(SystemExit):
    """Ends the program through every ``except Exception``."""
