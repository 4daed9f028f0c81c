"""``subspace probe``: measure a saved run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .run import absolute
from .show import make_console, names, numbers, print_json, say
from .study import listed, show_table


def probe(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="landscape, correlation or orthogonality.")
    ],
    run: options.Run,
    bases: Annotated[
        str,
        typer.Option(parser=names, metavar="NAME,...", help="Kinds of directions."),
    ] = "normal,hadamard",
    directions: Annotated[
        int,
        options.whole(
            "Directions, pairs of them, or draws of a subspace.",
        ),
    ] = 10,
    radius: Annotated[
        float,
        options.real("How far along each (landscape)."),
    ] = 2.0,
    examples: Annotated[
        int,
        options.whole("Training images (landscape)."),
    ] = 1024,
    dims: Annotated[
        Any,
        typer.Option(
            parser=numbers,
            metavar="D,...",
            help="Dimensions (correlation).",
            show_default="10, 100, ...",
        ),
    ] = None,
    seed: Annotated[int, options.whole("Of the directions.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="The picture.", show_default="RUN/WHAT.png")
    ] = None,
    data_dir: options.DataDirNow = None,
    json: options.Json = False,
) -> None:
    """Measure a saved run: its loss landscape, and how random directions see its gradient."""
    from subspace.errors import lookup
    from subspace.run import check_plot
    from subspace.store.folder import RunFolder
    from subspace.study.probes import PROBES, Look
    from subspace.study.probes import probe as measure

    console = make_console(stderr=json)
    lookup("WHAT", what, PROBES)
    look = Look(tuple(bases), directions, radius, examples, dims, seed)
    folder = RunFolder(run)
    folder.read_config("run")
    plot = plot or run / f"{what}.png"
    check_plot(plot)
    table = measure(what, folder, look, plot, absolute(data_dir))
    show_table(console, table, left=1)
    say(console, f"Wrote {plot}")
    if json:
        print_json({"run": str(run), "what": what, "plot": str(plot), "rows": listed(table)})
