"""``subspace compare``: finished runs in one table, and in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .show import count, make_console, number, percent, print_json, print_table, seconds
from .show import say as say_line

_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "run": ("run", str),
    "method": ("method", str),
    "model": ("model", str),
    "dataset": ("dataset", str),
    "D": ("parameters", count),
    "d": ("dimensions", count),
    "lr": ("learning_rate", number),
    "epochs": ("epochs", count),
    "train": ("train_accuracy", percent),
    "validation": ("validation_accuracy", percent),
    "test": ("test_accuracy", percent),
    "seconds": ("seconds", seconds),
    "examples/s": ("examples_per_second", count),
}


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of the runs.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw their learning curves.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Set finished runs side by side."""
    from subspace.run import run as library
    from subspace.store.folder import RunFolder

    summaries = library.compare([RunFolder(run) for run in runs], plot)
    console = make_console(stderr=json)
    print_table(console, list(_COLUMNS), [_row(summary) for summary in summaries], left=4)
    if plot is not None:
        say_line(console, f"Wrote {plot}")
    if json:
        print_json(summaries)


def _row(summary: Mapping[str, Any]) -> list[str]:
    return [show(summary.get(field)) for field, show in _COLUMNS.values()]
