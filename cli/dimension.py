"""``subspace dimension``: how many dimensions a problem needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .show import count, make_console, print_json, say
from .study import default_out, guarded, listed, show_table


@options.takes_a_run("dim", "seed", described=True)
def dimension(
    given: dict[str, Any],
    target: Annotated[
        float,
        options.real("Fraction of SGD's accuracy to reach."),
    ] = 0.9,
    seeds: Annotated[
        int,
        options.whole("Runs of SGD, and of each d."),
    ] = 3,
    low: Annotated[int, options.whole("First d to try.")] = 10,
    precision: Annotated[
        float,
        options.real(
            "Stop when the d that reaches it is so near to one that doesn't.",
        ),
    ] = 1.2,
    max_runs: Annotated[
        int,
        options.whole("Stop after about so many runs."),
    ] = 100,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder; runs that it holds are not made again.",
            show_default="studies/dimension-METHOD-MODEL-DATASET",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure the intrinsic dimension: the smallest d that reaches a fraction of SGD's accuracy.

    METHOD is fpd, as in Li et al. 2018, unless you say another, such as rbd.
    """
    from subspace.config.run import RunConfig
    from subspace.study.dimension import Question
    from subspace.study.intrinsic import dimension as search
    from subspace.study.intrinsic import sentence

    console = make_console(stderr=json)
    given = {"method": "fpd"} | given
    question = Question(target, seeds, low, precision, max_runs)
    config = RunConfig.resolve(given)
    out = out or default_out(["dimension", config.methods, config.model, config.data_name])

    def show(point: Any) -> None:
        say(console, f"d = {count(point.dim)}: {point.text}", style="bold")

    answer, table = guarded(
        console, lambda callback: search(given, question, out, callback, show), open_ended=True
    )
    show_table(console, table, left=0)
    say(console, "")
    say(console, sentence(answer, question), style="bold")
    say(console, f"Wrote {out} (answer.json, table.md, table.csv, figure.png)")
    if json:
        figures = {"smallest": answer.smallest, "estimate": answer.estimate}
        figures |= {"interval": answer.interval, "runs": answer.runs, "out": str(out)}
        print_json(figures | {"rows": listed(table)})
