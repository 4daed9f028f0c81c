"""``subspace report``: many runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .command import run_command
from .output import warn
from .show import count, make_console, say


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of runs and studies.")],
    out: Annotated[
        Path | None, typer.Option(help="The page.", show_default="DIR/report.html")
    ] = None,
) -> None:
    """Write one HTML page on all runs and studies in DIR: tables, pictures, commands.

    The page needs nothing else, and can be mailed or archived.
    """
    from subspace.study.report import write_report

    out = out or folder / "report.html"
    found = write_report(folder, out, run_command)
    for path, why in found.unread.items():
        warn(f"left out {path}: {why}")
    runs, studies = count(len(found.runs)), count(len(found.studies))
    say(make_console(), f"Wrote {out} ({runs} runs, {studies} studies)")
