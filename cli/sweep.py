"""``subspace sweep``: runs over a grid of options, or over random ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .config_file import load, named
from .show import make_console, print_json, say
from .study import default_out, guarded, listed, show_table

if TYPE_CHECKING:
    from subspace.study.cell import Cell


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Options as for run --config, and tables [sweep] of lists, or [random] with "
            "trials and ranges.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder; runs that it holds are not made again.",
            show_default="studies/sweep-FILE",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Make a run for every combination of options, or for random ones.

    \b
    method = "rbd"
    epochs = 5
    [sweep]
    lr = [0.5, 1, 2, 4]
    dim = [50, 250]
    seed = [0, 1, 2]

    In place of [sweep], [random] has trials = 20 and ranges: lr = {low = 0.1, high = 10, log =
    true}. Writes table.md, table.csv, sweep.png; the same command goes on.
    """
    from subspace.study import sweep as library
    from subspace.study.folder import Study

    cells = _cells(file)
    out = out or default_out(["sweep", file.stem])
    console = make_console(stderr=json)

    def work(callback: Any) -> Any:
        with Study(out, callback) as study:
            return study.make(cells)

    results = guarded(console, work)
    title = f"Sweep of {file.name}"
    found = library.table(results, title)
    found.write(out)
    library.draw(results, out / "sweep.png", title)
    if json:
        return print_json({"out": str(out), "best": library.best(results), "rows": listed(found)})
    show_table(console, found, left=len(found.header) - 4)
    say(console, f"Wrote {out} (table.md, table.csv, sweep.png)")


def _cells(file: Path) -> list[Cell]:
    """The runs that a file asks for."""
    from collections.abc import Mapping

    from subspace.errors import InvalidInput
    from subspace.study import sweep as library

    record = dict(load(file, "file"))
    tables = {kind: record.pop(kind) for kind in ("sweep", "random") if kind in record}
    if len(tables) != 1:
        raise InvalidInput("file", "give one table of what varies, [sweep] or [random]")
    ((kind, axes),) = tables.items()
    if not isinstance(axes, Mapping):
        raise InvalidInput("file", f"{kind} is a table: [{kind}], and below it OPTION = [VALUES]")
    then = [named(one, "file") for one in record.pop("then", [])]
    axes = dict(axes)
    own = {name: axes.pop(name) for name in ("trials", "seed") if kind == "random" and name in axes}
    read: dict[str, Any] = {}
    for name, values in axes.items():
        if kind == "random" and isinstance(values, Mapping):
            (key,) = named({name: None}, "file")
            read[key] = library.Range.of(name, values)
        elif isinstance(values, list) and values:
            each = [named({name: value}, "file") for value in values]
            read[next(iter(each[0]))] = [next(iter(one.values())) for one in each]
        else:
            raise InvalidInput("file", f"{name}: give a list of values")
    if not read:
        raise InvalidInput("file", f"[{kind}] is empty; give it OPTION = [VALUES]")
    if kind == "sweep":
        points = library.grid(read)
    else:
        points = library.random(read, own.get("trials", 20), own.get("seed", 0))
    return list(library.cells(named(record, "file"), then, points))
