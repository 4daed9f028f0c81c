"""``subspace evaluate``: the figures of a run's newest checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .run import absolute
from .show import make_console, print_json, print_table


def evaluate(
    run: options.Run,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data_dir: options.DataDirNow = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file of weights, instead of the run's.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure a run's newest checkpoint on a split."""
    from subspace import run as library
    from subspace.store.folder import RunFolder
    from subspace.tasks import TASKS

    record = library.evaluate(RunFolder(run), split, absolute(data_dir), weights)
    del record["damaged"]  # which was a warning
    if json:
        print_json({"run": str(run)} | record)
        return
    task = TASKS[RunFolder(run).read_config("run").task]
    cells = [str(run), split, str(record["step"])]
    metrics = sorted(task.metrics, key=lambda metric: metric.name != "loss")
    cells += [metric.show(record[metric.name]) for metric in metrics]
    header = ["run", "split", "step", *(metric.name for metric in metrics)]
    print_table(make_console(), header, [cells], left=2)
