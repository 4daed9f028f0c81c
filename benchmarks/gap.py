"""Test accuracy against dimensions, of runs that are there already.

    python benchmarks/gap.py --plot gap.png plain=RUN,RUN strong=RUN,RUN SGD=RUN

One curve for each name, through the runs behind it; a run of SGD is a level line. Prints the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def read(run: Path) -> dict[str, Any]:
    """What the table has on a run."""
    summary = json.loads((run / "summary.json").read_text())
    phase = json.loads((run / "config.json").read_text())["phases"][-1]
    return {
        "method": phase["method"],
        "d": summary["dimensions"],
        "D/d": summary["compression"],
        "lr": phase["learning_rate"],
        "train": summary["train_accuracy"],
        "validation": summary["validation_accuracy"],
        "test": summary["test_accuracy"],
    }


def draw(curves: dict[str, list[dict[str, Any]]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5))
    for name, rows in curves.items():
        if rows[0]["method"] == "sgd":
            axis.axhline(100 * rows[0]["test"], color="black", linestyle="--", label=name)
        else:
            rows = sorted(rows, key=lambda row: row["d"])
            axis.semilogx(
                [row["d"] for row in rows], [100 * row["test"] for row in rows], "o-", label=name
            )
    axis.set_xlabel("numbers a step, d")
    axis.set_ylabel("test accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("curves", nargs="+", metavar="NAME=RUN,RUN,...")
    arguments.add_argument("--plot", type=Path)
    options = arguments.parse_args()
    curves = {}
    for text in options.curves:
        name, _, runs = text.partition("=")
        curves[name] = [read(Path(run)) for run in runs.split(",")]
    print("| | d | D/d | learning rate | train | validation | test |\n" + "|---" * 7 + "|")
    for name, rows in curves.items():
        for row in rows:
            figures = [f"{100 * row[part]:.1f}" for part in ("train", "validation", "test")]
            rate = f"{row['lr']:g}"
            print(f"| {name} | {row['d']:,} | {row['D/d']:,.0f} | {rate} | {' | '.join(figures)} |")
    if options.plot:
        draw(curves, options.plot)


if __name__ == "__main__":
    main()
