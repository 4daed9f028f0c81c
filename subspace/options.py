"""Fields of records that say everything about themselves: default, range, help, how text is read.

A record is a frozen dataclass whose fields are made by `option`, and which calls `check` when it is
made. Command lines, ``--then``, JSON and library calls all go through the same record, so that they
have the same defaults and say the same words.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import types
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from subspace.errors import InvalidInput, one_of

_TINIEST, _HUGEST = 2.0**-126, 3.4028234e38  # normal numbers of float32
_LARGEST = 2**31 - 1  # steps, sizes and dimensions are counted in 32 bits


@dataclasses.dataclass(frozen=True)
class Option:
    """What a field says of itself beside its type and default.

    Attributes:
        help: a sentence for people.
        panel: under which heading the help of a command shows it.
        above, least, below, most: bounds of a number, each None for none.
        choices: the values that there are, or a function that returns them.
        read: makes a value of text; by the field's type if None.
        flag: on the command line, if not made of the field's name.
        shown: the default in words, where it depends on more than the record.
        describes: it says what a run learns from, and not how that is made, shared or kept.
        moves_rate: a good learning rate may depend on it.
        by_run: it is for runs, and no argument of the method's function in the library.
    """

    help: str
    panel: str = "Subspace"
    above: int | float | None = None
    least: int | float | None = None
    below: int | float | None = None
    most: int | float | None = None
    choices: tuple[str, ...] | Callable[[], Collection[str]] | None = None
    read: Callable[[str], Any] | None = None
    flag: str | None = None
    shown: str | None = None
    describes: bool = True
    moves_rate: bool = True
    by_run: bool = False


class Field(NamedTuple):
    """A record's field: what is written where it is declared, in one place."""

    name: str
    kinds: tuple[Any, ...]
    """The types that it may have; `type(None)` among them if it may be None."""
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """How the command line calls it, of a switch the form that turns it on."""
        return (self.option.flag or f"--{self.name.replace('_', '-')}").partition("/")[0]

    @property
    def off(self) -> str:
        """The form of a switch that turns it off."""
        return (self.option.flag or "").partition("/")[2] or f"--no-{self.flag[2:]}"

    @property
    def is_switch(self) -> bool:
        return bool in self.kinds

    @property
    def is_number(self) -> bool:
        return bool({int, float} & set(self.kinds))

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole ones; others may be, too."""
        return int in self.kinds and float not in self.kinds


def option(default: Any, help: str, **about: Any) -> Any:
    """A field of a record; ``about`` are the attributes of `Option`.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Sampling:
        ...     every: int = option(1, "Steps between samples.", least=1)
    """
    return dataclasses.field(default=default, metadata={"option": Option(help, **about)})


@functools.cache
def fields_of(record: type) -> dict[str, Field]:
    """The fields that `option` made, by name, those of base classes first."""
    hints = get_type_hints(record)
    return {
        one.name: Field(one.name, _kinds(hints[one.name]), one.default, one.metadata["option"])
        for one in dataclasses.fields(record)
        if "option" in one.metadata
    }


def values_of(record: Any) -> dict[str, Any]:
    """A record's fields and values."""
    return {name: getattr(record, name) for name in fields_of(type(record))}


def check(record: Any) -> None:
    """Raises InvalidInput if a value has another type than its field, or is out of range."""
    for name, field in fields_of(type(record)).items():
        check_value(field, getattr(record, name))


def check_value(field: Field, value: Any) -> None:
    """Raises InvalidInput, of the field, if the value has another type or is out of range."""
    if value is None and type(None) in field.kinds:
        return
    if isinstance(value, str) and str in field.kinds:
        choices = field.option.choices
        if choices is not None:
            one_of(field.name, value, choices() if callable(choices) else choices)
        return
    if not field.is_number or isinstance(value, bool):
        fits = any(_is_a(value, kind) for kind in field.kinds)
    elif isinstance(value, int) or (isinstance(value, float) and not field.is_whole):
        fits = (isinstance(value, int) or _is_float32(value)) and _within(field, value)
    else:
        fits = False
    if not fits:
        raise InvalidInput(field.name, f"must be {_what(field, value)}, got {value!r}")


def read(field: Field, text: str) -> Any:
    """The value that a text means; of ``none`` None, where the field may be that.

    Raises:
        InvalidInput: it means none.
    """
    if type(None) in field.kinds and text.lower() == "none":
        return None
    first = next(kind for kind in field.kinds if kind is not type(None))
    first = first if first is not int or field.is_whole else float
    reader = field.option.read or _READERS.get(first)
    try:
        return reader(text) if reader else text
    except (ValueError, KeyError):
        raise InvalidInput(field.name, f"can't read {text!r}; give {_what(field)}") from None


def path(text: str) -> str:
    """A path that a run can be continued with from anywhere."""
    return os.path.abspath(os.path.expanduser(text))


def whole_numbers(text: str) -> tuple[int, ...]:
    """``100,150``; none for an empty text."""
    return tuple(whole_number(word) for word in text.split(",") if word)


def whole_number(text: str) -> int:
    """Decimal digits, as people write them: neither ``1_000`` nor other scripts' digits."""
    if not (text.isascii() and text.lstrip("+-").isdigit()):
        raise ValueError(text)
    return int(text)


def number(text: str) -> float:
    """A decimal number; neither ``1_0.0`` nor ``nan``."""
    value = float(text)
    if "_" in text or not text.isascii() or not math.isfinite(value):
        raise ValueError(text)
    return value


def whole_number_or_fraction(text: str) -> int | float:
    """A number of things, or a fraction of them between 0 and 1."""
    try:
        return whole_number(text)
    except ValueError:
        return number(text)


_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: dict[Any, Callable[[str], Any]] = {
    int: whole_number,
    float: number,
    bool: lambda text: _TRUTH[text.lower()],
    tuple: whole_numbers,
}


def _kinds(hint: Any) -> tuple[Any, ...]:
    parts = (
        get_args(hint)
        if isinstance(hint, types.UnionType) or get_origin(hint) is Union
        else (hint,)
    )
    return tuple(get_origin(part) or part for part in parts)


def _is_a(value: Any, kind: Any) -> bool:
    if kind is Callable:
        return callable(value)
    if isinstance(value, bool):
        return kind is bool  # and no whole number, as Python has it
    return isinstance(value, kind) if isinstance(kind, type) else True


def _is_float32(value: float) -> bool:
    """Whether devices can hold it: neither infinite there nor 0 though it isn't."""
    return value == 0 or _TINIEST <= abs(value) <= _HUGEST


def _within(field: Field, value: int | float) -> bool:
    about = field.option
    most = _LARGEST if about.most is None and field.is_whole else about.most
    return (
        (about.above is None or value > about.above)
        and (about.least is None or value >= about.least)
        and (about.below is None or value < about.below)
        and (most is None or value <= most)
    )


def _what(field: Field, value: Any = None) -> str:
    """What a value has to be, in words; the limit of 32 bits only where it is passed."""
    about, kinds = field.option, set(field.kinds)
    if bool in kinds:
        return "true or false"
    if tuple in kinds:
        return "whole numbers with commas between them"
    if not field.is_number:
        return "text"
    number = "number" if float in kinds else "whole number"
    first = f"a positive {number}" if about.above == 0 else f"a {number}"
    bounds = [("above", about.above or None), ("at least", about.least or None)]
    bounds += [("below", about.below), ("at most", about.most)]
    limits = [f"{word} {bound}" for word, bound in bounds if bound is not None]
    limits = (["0 or more"] if about.least == 0 else []) + limits
    if isinstance(value, int | float) and about.most is None and value > _LARGEST:
        limits.append(f"at most {_LARGEST}")
    if isinstance(value, float) and math.isfinite(value) and not _is_float32(value):
        limits.append("such as float32 can hold")
    text = ", ".join([first, *([" and ".join(limits)] if limits else [])])
    others = field.option.choices if str in kinds else ()
    return " or ".join([text, *(others() if callable(others) else others or ())])
