"""What the commands that make many runs show, and how they end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from . import options
from .output import tell, warn
from .show import clock, count, print_table, say
from .signals import StopSignals

if TYPE_CHECKING:
    from subspace.study.cell import Cell, Result
    from subspace.study.folder import StudyCallback
    from subspace.study.table import Table

_T = TypeVar("_T")

Seeds = Annotated[
    int | None,
    options.whole("Runs of each kind, with seeds 0, 1, …"),
]
Epochs = Annotated[int | None, options.whole("Of every run.")]


class StudyDisplay:
    """A line for each run, with the time that is left unless nobody knows how many come."""

    def __init__(self, console: Console, open_ended: bool = False):
        self._console, self._open_ended = console, open_ended
        self._total = self._done = 0
        self._spent: list[float] = []

    def callback(self, should_stop: Callable[[], bool]) -> StudyCallback:
        from subspace.study.folder import StudyCallback

        return StudyCallback(
            on_cells=self._cells,
            on_cell=self._cell,
            on_result=self._result,
            on_damaged=self._damaged,
            on_warning=warn,
            should_stop=should_stop,
        )

    def _cells(self, total: int, done: int) -> None:
        if self._open_ended:
            return
        self._total, self._done, self._spent = total, done, []
        have = f", {count(done)} of them finished before" if done else ""
        say(self._console, f"{count(total)} runs{have}")

    def _cell(self, cell: Cell) -> None:
        if self._console.is_terminal:
            say(self._console, f"  {cell.name} ...", style="dim")

    def _result(self, result: Result, seconds: float) -> None:
        from subspace.tasks import Metric

        self._done += 1
        self._spent.append(seconds)
        figures = "diverged"
        if result.summary:
            metric = Metric(*result.summary["metrics"][0])
            figures = f"test {metric.show(result.summary[f'test_{metric.name}'])}"
        text = f"{result.cell.name}  {figures}"
        if not self._open_ended:
            left = (self._total - self._done) * sum(self._spent) / len(self._spent)
            place = f"{self._done:>{len(str(self._total))}}/{self._total}"
            text = f"{place}  {text}  {clock(left)} left"
        say(self._console, text)

    def _damaged(self, path: Path) -> None:
        warn(f"{path} is damaged; its run is made again")


def guarded(console: Console, work: Callable[[StudyCallback], _T], open_ended: bool = False) -> _T:
    """The work's result; a signal stops it after the step in hand, to go on another time."""
    from subspace.train.callbacks import Stopped

    signals = StopSignals(nothing_to_save=lambda: False)
    try:
        with signals:
            return work(StudyDisplay(console, open_ended).callback(signals.requested))
    except Stopped:
        tell(f"{signals.stopped}; go on with the same command:")
        tell(f"  {shlex.join(['subspace', *sys.argv[1:]])}")
        raise typer.Exit(signals.exit_code) from None


def show_table(console: Console, table: Table, left: int) -> None:
    """A table and its notes."""
    say(console, "")
    say(console, table.title, style="bold")
    print_table(console, list(table.header), table.rows, left=left)
    say(console, "")
    for note in table.notes:
        say(console, f"- {note}")


def listed(table: Table) -> list[dict[str, Any]]:
    """A table's rows as records."""
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def default_out(words: Iterable[str]) -> Path:
    """``studies/WORDS``."""
    from subspace.study.cell import slug

    return Path("studies") / slug(*words)
