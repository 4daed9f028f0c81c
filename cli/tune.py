"""``subspace tune``: a learning rate by held-out loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .show import make_console, print_json, say
from .study import default_out, guarded, listed, show_table


@options.takes_a_run("learning_rate", "epochs", described=True)
def tune(
    given: dict[str, Any],
    low: Annotated[
        int,
        options.whole(
            "Smallest learning rate, as a power of two.",
        ),
    ] = -19,
    high: Annotated[
        int,
        options.whole(
            "Largest learning rate, as a power of two.",
        ),
    ] = 7,
    epochs: Annotated[int, options.whole("Of the longest runs.")] = 9,
    strategy: Annotated[
        str,
        typer.Option(help="halving: short runs choose who goes on; grid: all run all epochs."),
    ] = "halving",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder; runs that it holds are not made again.",
            show_default="studies/tune-METHOD-MODEL-DATASET",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Find the learning rate of METHOD, which later runs like it then take.

    Powers of two, a quarter of the training examples held out, lowest loss on them, as in the RBD
    paper. The rate is kept in runs/tuned.json, where `run` and `reproduce` look for it.
    """
    from subspace.config.run import RunConfig
    from subspace.errors import InvalidInput
    from subspace.store import tuned
    from subspace.study.tune import Search
    from subspace.study.tune import tune as search_rate

    console = make_console(stderr=json)
    if "method" not in given:
        raise InvalidInput("method", "say which; e.g. `subspace tune rbd`")
    search = Search(low, high, epochs, strategy)
    config = RunConfig.resolve(given)
    out = out or default_out(["tune", config.methods, config.model, config.data_name])
    rate, table = guarded(console, lambda callback: search_rate(given, search, out, callback))
    show_table(console, table, left=0)
    say(console, f"Wrote {out} (table.md, table.csv, figure.png)")
    say(console, f"Kept {rate:g} in {tuned.FILE}: runs like these take it unless you say --lr")
    if json:
        print_json({"learning_rate": rate, "out": str(out), "rows": listed(table)})
