"""Test accuracy against dimensions, of runs that are there already.

    python benchmarks/gap.py --plot gap.png plain=RUN,RUN strong=RUN,RUN SGD=RUN

One curve for each name, through the runs behind it; a run of SGD is a level line. Prints the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import finished

from subspace.store.folder import RunFolder


def read(run: RunFolder) -> dict[str, Any]:
    """What the table has on a run."""
    summary, phase = run.summary(), run.read_config().phases[-1]
    return {
        "method": phase.method,
        "d": summary["dimensions"],
        "D/d": summary["compression"],
        "lr": phase.learning_rate,
        "train": summary["train_accuracy"],
        "validation": summary["validation_accuracy"],
        "test": summary["test_accuracy"],
    }


def draw(curves: dict[str, list[dict[str, Any]]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))
    axis = figure.subplots()
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
    options = finished.parser(__doc__).parse_args()
    named = finished.named(options.curves)
    curves = {name: [read(run) for run in runs] for name, runs in named.items()}
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
