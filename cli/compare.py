"""``subspace compare``: finished runs in one table, and in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .show import SPLITS, count, make_console, number, print_json, print_table, seconds
from .show import say as say_line

if TYPE_CHECKING:
    from subspace.tasks import Metric

_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "run": ("run", str),
    "method": ("method", str),
    "model": ("model", str),
    "dataset": ("dataset", str),
    "D": ("parameters", count),
    "d": ("dimensions", count),
    "lr": ("learning_rate", number),
    "epochs": ("epochs", count),
    "gradient epochs": ("gradient_epochs", seconds),
}
_LAST: dict[str, tuple[str, Callable[[Any], str]]] = {
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
    from subspace import run as library
    from subspace.store.folder import RunFolder
    from subspace.tasks import Metric

    summaries = library.compare([RunFolder(run) for run in runs], plot)
    console = make_console(stderr=json)
    metrics = [Metric(*summary["metrics"][0]) for summary in summaries]
    named = ["metric"] if len(set(metrics)) > 1 else []  # where it isn't the same for all
    header = [*_COLUMNS, *named, *SPLITS, *_LAST]
    rows = [_row(*pair, bool(named)) for pair in zip(summaries, metrics, strict=True)]
    print_table(console, header, rows, left=4)
    if plot is not None:
        say_line(console, f"Wrote {plot}")
    if json:
        print_json(summaries)


def _row(summary: Mapping[str, Any], metric: Metric, named: bool) -> list[str]:
    figures = [metric.show(summary.get(f"{split}_{metric.name}")) for split in SPLITS]
    first, last = (
        [show(summary.get(field)) for field, show in columns.values()]
        for columns in (_COLUMNS, _LAST)
    )
    return [*first, *([metric.name] if named else []), *figures, *last]
