"""``subspace evaluate``: the figures of a run's newest checkpoint, or of weights from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .run import absolute
from .show import make_console, print_json, print_table


def evaluate(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Folder of the run.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data_dir: options.DataDirNow = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file of weights, instead of the run's.")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(help="Without a run: weights, as `subspace run --init-from` takes them."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of these weights.")] = None,
    dataset: Annotated[str | None, typer.Option(help="To measure them on.")] = None,
    task: Annotated[str | None, typer.Option(help="`subspace list tasks` has all.")] = None,
    json: options.Json = False,
) -> None:
    """Measure a run's newest checkpoint on a split, or weights that no run has made."""
    given = {"init_from": init_from, "model": model, "dataset": dataset, "task": task}
    if run is None:
        record = _start(given, split, absolute(data_dir))
        title, step = str(init_from), "-"
    else:
        record = _of_run(run, given, split, absolute(data_dir), weights)
        title, step = str(run), str(record["step"])
    name = record.pop("task")
    if json:
        print_json({"run": title} | record)
        return
    _show(title, step, name, record)


def _start(given: dict[str, Any], split: str, data_dir: str | None) -> dict[str, Any]:
    from subspace import pretrained
    from subspace import run as library
    from subspace.errors import InvalidInput

    if given["init_from"] is None:
        raise InvalidInput("run", "name a run, or weights: --init-from FILE --model --dataset")
    named = given | {"init_from": pretrained.named(given["init_from"]), "data_dir": data_dir}
    return library.evaluate_start(named, split)


def _of_run(
    run: Path, given: dict[str, Any], split: str, data_dir: str | None, weights: Path | None
) -> dict[str, Any]:
    from subspace import run as library
    from subspace.errors import InvalidInput
    from subspace.store.folder import RunFolder

    for name, value in given.items():
        if value is not None:
            raise InvalidInput(name, "goes without a run, which has its own; leave it out")
    folder = RunFolder(run)
    record = library.evaluate(folder, split, data_dir, weights)
    del record["damaged"]  # which was a warning
    return record | {"task": folder.read_config("run").task}


def _show(title: str, step: str, task: str, record: dict[str, Any]) -> None:
    from subspace.tasks import TASKS

    metrics = sorted(TASKS[task].metrics, key=lambda metric: metric.name != "loss")
    cells = [title, record["split"], step]
    cells += [metric.show(record[metric.name]) for metric in metrics]
    header = ["run", "split", "step", *(metric.name for metric in metrics)]
    print_table(make_console(), header, [cells], left=2)
