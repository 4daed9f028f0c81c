"""Validation accuracy against epochs and against seconds, of runs that are there already.

    python benchmarks/convergence.py --plot hylo.png --reach 88 SGD=RUN HyLo=RUN K-FAC=RUN,RUN

A name's runs are its seeds: their mean is drawn. Prints the epochs and seconds after which that
mean first reaches an accuracy in percent. Seconds are all of a run's, with compilation and tests.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Curve(NamedTuple):
    """One method's mean over seeds after each epoch: accuracy in percent, seconds so far."""

    accuracy: np.ndarray
    seconds: np.ndarray
    rate: float


def read(runs: list[Path]) -> Curve:
    """The curve of one method; runs of different lengths are cut to the shortest."""
    records = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    ]
    epochs = range(min(map(len, records)))

    def mean(field: str) -> np.ndarray:
        return np.array([np.mean([run[epoch][field] for run in records]) for epoch in epochs])

    phase = json.loads((runs[0] / "config.json").read_text())["phases"][-1]
    return Curve(100 * mean("validation_accuracy"), mean("seconds"), phase["learning_rate"])


def row(name: str, curve: Curve, reach: float) -> str:
    """Its line of the table."""
    above = np.flatnonzero(curve.accuracy >= reach)
    found = ("", "") if not len(above) else (above[0] + 1, f"{curve.seconds[above[0]]:.0f}")
    accuracies = " / ".join(f"{a:.1f}" for a in curve.accuracy)
    cells = [name, f"{curve.rate:g}", accuracies, f"{curve.seconds[-1]:.0f}", *found]
    return "| " + " | ".join(map(str, cells)) + " |"


def draw(curves: dict[str, Curve], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for name, curve in curves.items():
        epochs = np.arange(1, len(curve.accuracy) + 1)
        for axis, across in zip(axes, (epochs, curve.seconds), strict=True):
            axis.plot(across, curve.accuracy, "o-", markersize=4, label=name)
    axes[0].set_xlabel("epoch")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[1].set_xlabel("seconds")
    axes[0].set_ylabel("validation accuracy, %")
    axes[1].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("curves", nargs="+", metavar="NAME=RUN,RUN,...")
    arguments.add_argument("--plot", type=Path)
    arguments.add_argument("--reach", type=float, default=90.0, help="accuracy in percent")
    options = arguments.parse_args()
    curves: dict[str, Any] = {}
    for text in options.curves:
        name, _, runs = text.partition("=")
        curves[name] = read([Path(run) for run in runs.split(",")])
    titles = ["", "learning rate", "validation after each epoch", "seconds"]
    titles += [f"epochs to {options.reach:g}%", f"seconds to {options.reach:g}%"]
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for name, curve in curves.items():
        print(row(name, curve, options.reach))
    if options.plot:
        draw(curves, options.plot)


if __name__ == "__main__":
    main()
