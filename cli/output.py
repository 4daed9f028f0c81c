"""Standard output and error that take any text and never stop a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Output:
    """A stream that shows what it can, and goes on in silence once nothing can be written.

    Attributes:
        error: what the first write that failed said: a reader that is gone, a full disk.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            return self.write(text.encode(encoding, "replace").decode(encoding))
        except OSError as error:
            self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for text in lines:
            self.write(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._fail(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _fail(self, error: OSError) -> None:
        """What is left in the stream's buffer, and all that follows, goes nowhere."""
        self.error = self.error or error
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        except (OSError, ValueError):  # no stream of the system
            self.stream = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)


@contextmanager
def safe_output() -> Iterator[None]:
    """Within it `sys.stdout` and `sys.stderr` are such streams."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_safe(*each) for each in enumerate(before, start=1))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _safe(number: int, stream: TextIO | None) -> Any:
    if stream is None:  # closed, as with `>&-`: or the next file that is opened has its number
        descriptor = os.open(os.devnull, os.O_WRONLY)
        if descriptor != number:
            os.dup2(descriptor, number)
        stream = open(os.devnull, "w")  # noqa: SIM115
    return Output(stream)


def failed_output() -> OSError | None:
    """Why standard output can't be written any more; None while it can."""
    return getattr(sys.stdout, "error", None)


def tell(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{shown(text)}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """One line on standard error that begins with ``Warning:``."""
    tell(f"Warning: {' '.join(text.split())}")


def shown(text: str) -> str:
    """A text with what isn't to be printed, as in a file's names, as ``\\x1b`` and the like."""
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()
