"""The one exception for input that can't be used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

_K = TypeVar("_K")
_T = TypeVar("_T")


class InvalidInput(ValueError):
    """Input that can't be used.

    Attributes:
        field: the argument (or configuration field) at fault, e.g. ``"data_dir"``. The command line
            shows it as the flag ``--data-dir``.
        reason: what is wrong with it and what to do instead, in one line.
    """

    def __init__(self, field: str, reason: str):
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


def is_whole(value: object) -> bool:
    """Whether it is a whole number of Python's."""
    return isinstance(value, int) and not isinstance(value, bool)


def lookup(field: str, name: _K, table: Mapping[_K, _T]) -> _T:
    """``table[name]``, or an `InvalidInput` as `one_of`'s."""
    return table[one_of(field, name, table)]


def one_of(field: str, name: _T, names: Collection[_T]) -> _T:
    """The name, or an `InvalidInput` that suggests the nearest of these and lists all."""
    words = {str(word).lower(): str(word) for word in names}
    if name in names:
        return name
    near = get_close_matches(str(name).lower(), words, n=1)
    hint = f"did you mean {words[near[0]]!r}? " if near else ""
    known = ", ".join(words.values())
    raise InvalidInput(field, f"unknown {field} {name!r}; {hint}choose from: {known}")


def nearest(name: str, names: Collection[str]) -> str:
    """``; did you mean 'NAME'?``, or nothing where none is near."""
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextmanager
def in_phase(index: int, method: str) -> Iterator[None]:
    """Says of input that a phase after the first can't use that it came with ``then``."""
    try:
        yield
    except InvalidInput as error:
        if index == 0 or error.field == "then":
            raise
        what = "" if error.field == "method" else f"{method}: {error.field}: "
        raise InvalidInput("then", f"{what}{error.reason}") from None
