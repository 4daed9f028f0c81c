"""How figures look: consoles, tables, numbers, JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from .output import shown

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000  # columns: who reads a pipe or a file wraps lines as they like


def make_console(stderr: bool = False, quiet: bool = False) -> Console:
    """For text that people read; without control codes unless it is a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(
        file=stream,
        quiet=quiet,
        force_terminal=terminal,
        width=None if terminal else _UNLIMITED,
        highlight=False,
        markup=False,
        emoji=False,
    )


def say(console: Console, text: str, style: str | None = None) -> None:
    """One line, however long."""
    console.print(shown(text), style=style, soft_wrap=True)


def print_table(
    console: Console, header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0
) -> None:
    """A table with its first ``left`` columns aligned to the left, the others to the right.

    One that is too wide for the terminal is printed turned, with its rows as columns.
    """
    header = [shown(name) for name in header]
    rows = [[shown(cell) for cell in row] for row in rows]
    table = _table(header, rows, left)
    unlimited = console.options.update(width=_UNLIMITED)
    if console.measure(table, options=unlimited).maximum > console.width:
        turned = [[name, *values] for name, *values in zip(header, *rows, strict=True)]
        table = _table(turned[0], turned[1:], 1)
    console.print(table)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


SPLITS = ("train", "validation", "test")


def count(value: float | None) -> str:
    """``1,234``"""
    return "-" if value is None else f"{value:,.0f}"


def number(value: float | None, digits: int = 4) -> str:
    """``0.03125``, with as many significant digits as asked for."""
    return "-" if value is None else f"{value:.{digits}g}"


def seconds(value: float | None) -> str:
    """``12.3``"""
    return "-" if value is None else f"{value:,.1f}"


def clock(seconds: float) -> str:
    """``1:05``, or ``2:03:04`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_json(record: Any) -> None:
    """One line of strict JSON on stdout: a figure that is not finite is null."""
    sys.stdout.write(json.dumps(_finite(record), allow_nan=False) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def names(text: str) -> Any:
    """Names, as in ``mnist,fashion_mnist``."""
    found = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not found:
        raise typer.BadParameter("name at least one")
    return found


def numbers(text: str) -> Any:
    """Whole numbers, as in ``10,100``."""
    from subspace.options import whole_numbers

    try:
        return whole_numbers(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not whole numbers with commas between") from None
