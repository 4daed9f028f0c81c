"""Quiet around Orbax: what goes wrong with a checkpoint is said once, by us, in one line."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, final


@final
class Quiet:
    """Silences Orbax for the whole process, from whoever enters first until the last has left.

    The log of ``absl`` and `sys.unraisablehook` are then what they were, in whatever order they
    leave. Only after a write that failed the hook stays: the threads that are late can't be waited
    for, and of all else it tells the hook before it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._log = logging.getLogger("absl")
        self._inside = 0
        self._level = self._log.level
        self._hook = _SilentOnLateWrites(sys.unraisablehook)

    def enter(self) -> None:
        """Silences, unless that was done before."""
        with self._lock:
            if not self._inside:
                self._level = self._log.level
                self._log.setLevel(logging.CRITICAL)  # what is damaged, `Checkpoints` says
            if not self._inside and sys.unraisablehook is not self._hook:
                self._hook = _SilentOnLateWrites(sys.unraisablehook)
                sys.unraisablehook = self._hook
            self._inside += 1

    def leave(self, *, late: bool = False) -> None:
        """Restores, unless somebody is still inside; ``late``: some threads may not be done."""
        with self._lock:
            self._inside -= 1
            self._hook.stays |= late
            if self._inside:
                return
            self._log.setLevel(self._level)
            if sys.unraisablehook is self._hook and not self._hook.stays:  # else it is another's
                sys.unraisablehook = self._hook.before


@final
class _SilentOnLateWrites:
    """For `sys.unraisablehook`: one failed write of an array closes Orbax's event loop, and those
    still on their way would each print from a thread of their own that they found it closed."""

    def __init__(self, before: Callable[[Any], object]):
        self.before, self.stays = before, False

    def __call__(self, what: Any) -> None:
        late = isinstance(what.exc_value, RuntimeError) and what.object is None
        if not (late and str(what.exc_value) == "Event loop is closed"):
            self.before(what)


QUIET = Quiet()
