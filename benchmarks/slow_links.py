"""Accuracy against bytes sent: training by K workers, by what they tell each other.

python benchmarks/slow_links.py --data-dir DIR [--model fc --dataset fashion_mnist --epochs 5]
    [--workers 8] [--seeds 3] [--rates 0.03125,0.0625,0.125] [--only "SGD;strong"] [--out DIR]

Bytes are counted by formula, of a ring for sums and for what is gathered; benchmarks/slow_link.py
counts them at an interface. Every method has the same learning rates to choose from, by accuracy on
what is held out. Runs that DIR holds are not made again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from compressors import Cost, Full, PowerSGD, TopK, all_reduce
from compressors.methods import register_rivals

from subspace import models
from subspace.data.dataset import load
from subspace.plots import new_figure, write_figure
from subspace.study.cell import Cell, Result
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import MeanStd, Table
from subspace.tasks import Metric

_METRIC = Metric("accuracy", "%", maximise=True)
_H = 16
_STRONG = {"method": "rbd", "preset": "strong"}
_DILOCO = {"local_steps": _H, "outer_rate": 0.7, "outer_momentum": 0.9}
METHODS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd"},
    "FedAvg, 16 local steps": {"method": "sgd", "local_steps": _H},
    "DiLoCo, 16 local steps": {"method": "sgd", **_DILOCO},
    "PowerSGD, rank 1": {"method": "powersgd"},
    "top-k, k = 125": {"method": "topk"},
    "SparseLoCo, k = 125, 16 local steps": {"method": "topk", "local_steps": _H},
    "strong": _STRONG,
    "strong, int8": _STRONG | {"sent_as": "int8"},
    "strong, 4 local steps": _STRONG | {"local_steps": 4},
    "strong, 16 local steps": _STRONG | {"local_steps": _H},
    "strong, 16 local steps, d = 1000": _STRONG | {"local_steps": _H, "dim": 1000},
}
"""Settings of runs, by what the table calls them."""


class Row(NamedTuple):
    """A method at its best learning rate."""

    name: str
    rate: float
    results: list[Result]
    cost: Cost


def cost(given: dict[str, Any], params: Any, workers: int) -> Cost:
    """Bytes that a worker sends and receives in a step of training."""
    method = given["method"]
    if method == "rbd":
        numbers = given.get("dim", 250) + 3
        parts = 8 * workers if given.get("sent_as") == "int8" else 0
        bits = 1 if parts else 4
        each = all_reduce(bits * numbers + parts, workers)
    else:
        rivals = {"sgd": Full(), "powersgd": PowerSGD(1), "topk": TopK(125)}
        each = rivals[method].cost(params, workers)
    steps = given.get("local_steps", 1)
    return Cost(each.sent / steps, each.received / steps)


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    for seed in range(args.seeds):
        for name in _chosen(args):
            for rate in _rates(args):
                shared = {
                    "model": args.model,
                    "dataset": args.dataset,
                    "data_dir": args.data_dir,
                    "epochs": args.epochs,
                    "batch_size": args.batch_size,
                    "workers": args.workers,
                    "augment": False,
                    "checkpoint_every": args.epochs,
                }
                given = shared | METHODS[name] | {"learning_rate": rate, "seed": seed}
                cell = f"{name}-lr{rate}-s{seed}".replace(" ", "_").replace(",", "")
                yield Cell(cell, given, labels={"row": name, "rate": rate})


def _chosen(args: argparse.Namespace) -> list[str]:
    return args.only.split(";") if args.only else list(METHODS)


def _rates(args: argparse.Namespace) -> list[float]:
    return [float(rate) for rate in args.rates.split(",")]


def rows(args: argparse.Namespace, found: list[Result]) -> list[Row]:
    """Each method's runs at the learning rate with the best accuracy on what is held out."""
    data = load(args.dataset, data_dir=args.data_dir)
    make = lambda: models.build(args.model, data.shape, data.outputs, key=jax.random.key(0))  # noqa: E731
    params = [x for x in jax.tree.leaves(jax.eval_shape(make)) if hasattr(x, "shape")]
    best = []
    for name in _chosen(args):
        by_rate: dict[float, list[Result]] = {}
        for one in found:
            if one.cell.labels["row"] == name:
                by_rate.setdefault(one.cell.labels["rate"], []).append(one)
        rate = max(by_rate, key=lambda rate: _mean(by_rate[rate], "validation_accuracy"))
        told = cost(METHODS[name], params, args.workers)
        best.append(Row(name, rate, by_rate[rate], told))
    return best


def _mean(results: list[Result], field: str) -> float:
    found = MeanStd.of(results, field).mean
    return found if found == found and all(one.summary for one in results) else -1.0


def table(args: argparse.Namespace, best: list[Row]) -> Table:
    lines = []
    for row in best:
        validation, test = (
            MeanStd.of(row.results, f"{part}_accuracy").text(_METRIC)
            for part in ("validation", "test")
        )
        sent, received = f"{row.cost.sent:,.0f}", f"{row.cost.received:,.0f}"
        lines.append([row.name, f"{row.rate:g}", sent, received, validation, test])
    head = ["", "learning rate", "bytes sent a step", "received", "validation, %", "test, %"]
    title = f"{args.model}, {args.dataset}, {args.workers} workers, {args.epochs} epochs"
    return Table(title, head, lines, ["Mean ± standard deviation over seeds; last parameters."])


def draw(args: argparse.Namespace, best: list[Row], file: Path) -> None:
    """Accuracy on what is held out against bytes that a worker has sent, epoch by epoch."""
    figure = new_figure(7.5, 4.6)
    panel = figure.add_subplot()
    for number, row in enumerate(best):
        records = [one.folder.records() for one in row.results]
        steps = [record["step"] for record in records[0]]
        means = [
            100 * sum(run[i]["validation_accuracy"] for run in records) / len(records)
            for i in range(len(steps))
        ]
        sent = [step * row.cost.sent for step in steps]
        style = {"linestyle": ("-", "--", ":")[number // 7], "marker": "os^vDP*X<>p"[number % 11]}
        panel.plot(sent, means, label=row.name, markersize=4, **style)
    panel.set_xscale("log")
    panel.set_xlabel("bytes that a worker has sent")
    panel.set_ylabel("validation accuracy, %")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_figure(figure, file, f"{args.model} · {args.dataset} · {args.workers} workers")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="fc")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", default="0.03125,0.0625,0.125")
    parser.add_argument("--only", default="", help="names of METHODS between semicolons")
    parser.add_argument("--out", type=Path, default=Path("studies/slow_links"))
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.workers)
    register_rivals()

    def told(result: Result, seconds: float) -> None:
        summary = result.summary or {}
        figures = [summary.get(f"{part}_accuracy") for part in ("validation", "test")]
        print(result.cell.name, *figures, f"{seconds:.0f} s", flush=True)
        shutil.rmtree(result.folder.checkpoints, ignore_errors=True)

    with Study(args.out, StudyCallback(on_result=told)) as study:
        best = rows(args, study.make(list(cells(args))))
        table(args, best).write(args.out)
        draw(args, best, args.out / "slow_links.png")


if __name__ == "__main__":
    main()
