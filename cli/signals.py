"""Ctrl-C, SIGTERM, a terminal that is gone: a request to stop after the step in hand."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from .errors import FAILED
from .output import failed_output, tell

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
STOPS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def ignored(number: int) -> bool:
    """A shell also ignores SIGINT for what runs in its background, which may be sent one yet."""
    return number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN


class StopSignals:
    """Catches SIGINT, SIGTERM and SIGHUP while it is entered.

    The first one is a request, to be asked for with `requested`; the second ends the process at
    once. Where there is nothing to save yet, so does the first. Output that can't be written any
    more is such a request, too. Under ``nohup`` a SIGHUP is ignored, as it asks for.

    Attributes:
        number: the signal that came, or None.
    """

    def __init__(self, nothing_to_save: Callable[[], bool]):
        self.number: int | None = None
        self._nothing_to_save = nothing_to_save
        self._previous: dict[int, Any] = {}

    def requested(self) -> bool:
        return self.number is not None or failed_output() is not None

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal: 129, 130 or 143; of output that failed 1."""
        return FAILED if self.number is None else 128 + self.number

    @property
    def stopped(self) -> str:
        """That it stopped, and why where nobody asked for it."""
        error = failed_output()
        if self.number is not None or error is None:
            return "Stopped"
        return f"Stopped, as standard output can't be written ({error.strerror or error})"

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if not ignored(number):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is _StopNow:
            tell("Stopped before training; nothing was written.")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number
        for one in self._previous:
            signal.signal(one, signal.SIG_DFL)  # acts even while the main thread is compiling
        if self._nothing_to_save():
            # where Python swallows this, as within a garbage collection, `requested` remembers
            raise _StopNow(self.exit_code)


class _StopNow(SystemExit):
    """Ends the program through every ``except Exception``."""


@contextmanager
def as_sigterm() -> Iterator[None]:
    """For a process of several, which JAX stops together at SIGTERM: other signals become one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = [one for one in STOPS if one != signal.SIGTERM]
    others = [one for one in others if not ignored(one)]
    forward = lambda number, frame: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    previous = {one: signal.signal(one, forward) for one in others}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
