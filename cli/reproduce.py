"""``subspace reproduce``: a paper's table or figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .run import absolute
from .show import make_console, names, print_json, say
from .study import Epochs, Seeds, default_out, guarded, listed, show_table


def reproduce(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="Without one, they are listed.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="full, as in the paper, or quick, minutes on 2 cores.")
    ] = "full",
    epochs: Epochs = None,
    seeds: Seeds = None,
    datasets: Annotated[
        str | None,
        typer.Option(parser=names, metavar="NAME,...", help="Instead of the paper's."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(parser=names, metavar="NAME,...", help="Instead of the paper's."),
    ] = None,
    augment: options.Augment = None,
    data_dir: options.DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder; runs that it holds are not made again.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Reproduce a table or figure of the papers, their figures beside yours."""
    from subspace.errors import lookup
    from subspace.study.measured import MEASURED, measure
    from subspace.study.reproduce import reproduce as run_target
    from subspace.study.targets import TARGETS

    console = make_console(stderr=json)
    everything = TARGETS | MEASURED
    if target is None:
        width = max(map(len, everything))
        for name, entry in everything.items():
            say(console, f"  {name:<{width}}  {entry.description} ({entry.source})")
        return
    chosen = lookup("TARGET", target, everything)
    plan = chosen.plan(
        budget,
        epochs=epochs,
        seeds=seeds,
        datasets=datasets,
        models=models,
        augment=augment,
        data_dir=absolute(data_dir),
    )
    out = out or default_out([target, *([] if budget == "full" else [budget])])
    if target in TARGETS:
        work = TARGETS[target]
        table = guarded(console, lambda callback: run_target(work, plan, out, callback))
    else:
        figure = MEASURED[target]
        table = guarded(console, lambda callback: measure(figure, plan, out, callback))
    show_table(console, table, left=3)
    say(console, "")
    say(console, f"Wrote {out} (table.md, table.csv, figure.png)")
    if json:
        print_json({"target": target, "out": str(out), "rows": listed(table)})
