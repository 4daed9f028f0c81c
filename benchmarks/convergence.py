"""Validation accuracy against epochs and against seconds, of runs that are there already.

    python benchmarks/convergence.py --plot hylo.png --reach 88 SGD=RUN HyLo=RUN K-FAC=RUN,RUN

A name's runs are its seeds: their mean is drawn. Prints the epochs and seconds after which that
mean first reaches an accuracy in percent. Seconds are all of a run's, with compilation and tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import finished
import numpy as np

from subspace.store.folder import RunFolder


class Curve(NamedTuple):
    """One method's mean over seeds after each epoch: accuracy in percent, seconds so far."""

    accuracy: np.ndarray
    seconds: np.ndarray
    rate: float | None


def read(runs: list[RunFolder]) -> Curve:
    """The curve of one method; runs of different lengths are cut to the shortest."""
    records = [run.records() for run in runs]
    epochs = range(min(map(len, records)))

    def mean(field: str) -> np.ndarray:
        return np.array([np.mean([run[epoch][field] for run in records]) for epoch in epochs])

    rate = runs[0].read_config().phases[-1].learning_rate
    return Curve(100 * mean("validation_accuracy"), mean("seconds"), rate)


def row(name: str, curve: Curve, reach: float) -> str:
    """Its line of the table."""
    above = np.flatnonzero(curve.accuracy >= reach)
    found = ("", "") if not len(above) else (above[0] + 1, f"{curve.seconds[above[0]]:.0f}")
    accuracies = " / ".join(f"{a:.1f}" for a in curve.accuracy)
    rate = "" if curve.rate is None else f"{curve.rate:g}"
    cells = [name, rate, accuracies, f"{curve.seconds[-1]:.0f}", *found]
    return "| " + " | ".join(map(str, cells)) + " |"


def draw(curves: dict[str, Curve], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2))
    axes = figure.subplots(1, 2, sharey=True)
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
    arguments = finished.parser(__doc__)
    arguments.add_argument("--reach", type=float, default=90.0, help="accuracy in percent")
    options = arguments.parse_args()
    curves = {name: read(runs) for name, runs in finished.named(options.curves).items()}
    titles = ["", "learning rate", "validation after each epoch", "seconds"]
    titles += [f"epochs to {options.reach:g}%", f"seconds to {options.reach:g}%"]
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for name, curve in curves.items():
        print(row(name, curve, options.reach))
    if options.plot:
        draw(curves, options.plot)


if __name__ == "__main__":
    main()
