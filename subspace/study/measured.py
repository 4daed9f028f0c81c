"""The papers' figures that measure directions and losses rather than train to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from subspace import run
from subspace.basis import BASES
from subspace.plots import new_figure, plain, write_figure
from subspace.run.landscape import isotropic_cosine, orthogonality
from subspace.study.cell import Cell, slug
from subspace.study.directions import landscape
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import Table
from subspace.study.target import Plan, keep

_DISTRIBUTIONS = ("bernoulli_paper", "uniform", "normal", "hadamard")
_PAIRS = 100


@dataclass(frozen=True)
class Measured:
    """A figure: `draw` measures, writes ``figure.png`` and returns the table."""

    name: str
    source: str
    description: str
    draw: Callable[[Plan, Path, StudyCallback], Table]

    def plan(self, budget: str, **given: Any) -> Plan:
        """As `Target.plan`; there is one seed."""
        full = {"epochs": 100, "datasets": ("fashion_mnist",), "models": ("cnn",), "seeds": 1}
        return Plan.of(budget, full, {"seeds": 1}, given)


def measure(target: Measured, plan: Plan, out: Path, callback: StudyCallback) -> Table:
    """Measures, and writes ``table.md``, ``table.csv`` and ``figure.png``."""
    found = target.draw(plan, out, callback)
    keep(out, target.name, plan, found)
    return found


def _orthogonality(plan: Plan, out: Path, callback: StudyCallback) -> Table:
    """|cosine| of pairs of rows against their length."""
    sizes = [10**k for k in ((1, 3) if plan.quick else range(1, 7))]
    pairs = 20 if plan.quick else _PAIRS
    with Study(out, callback):
        found = {
            name: [float(orthogonality(name, size, pairs).mean()) for size in sizes]
            for name in BASES
        }
    expected = [isotropic_cosine(size) for size in sizes]
    figure = new_figure(6, 4)
    panel = figure.add_subplot()
    for name, cosines in found.items():
        panel.loglog(sizes, cosines, "o-", label=name, markersize=4)
    panel.loglog(sizes, expected, "k--", label="√(2/πn)")
    panel.set_xlabel("n")
    panel.set_ylabel(f"mean |cosine| of {pairs} pairs")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    write_figure(figure, out / "figure.png", "orthogonality")
    columns = [f"{size:,}" for size in sizes]
    rows = [[name, *(f"{c:.4f}" for c in cosines)] for name, cosines in found.items()]
    rows.append(["√(2/πn)", *(f"{c:.4f}" for c in expected)])
    note = f"Mean |cosine| of {pairs} pairs of independent directions of n entries."
    return Table("orthogonality (RBD, figure B.8)", ["basis", *columns], rows, [note])


def _landscape(plan: Plan, out: Path, callback: StudyCallback) -> Table:
    """Loss along random directions after some epochs of RBD."""
    stops = sorted({1, max(1, plan.epochs // 4), plan.epochs})
    count, examples = (5, 200) if plan.quick else (25, 2048)
    distances = np.linspace(-2, 2, 5 if plan.quick else 21)
    tasks = [(model, data) for data in plan.datasets for model in plan.models]
    rows: list[list[str]] = []
    figure = new_figure(4 * len(stops), 3.4 * len(tasks))
    panels = figure.subplots(len(tasks), len(stops), squeeze=False)
    with Study(out, callback) as study:
        cells = [_trained(plan, model, data, n) for model, data in tasks for n in stops]
        for result, panel in zip(study.make(cells), panels.flat, strict=True):
            labels = result.cell.labels
            panel.set_title(plain(f"{labels['model']} · {labels['dataset']} · epoch {labels['x']}"))
            if result.summary is None:
                continue
            trainer, weights, *_ = run.saved(result.folder)
            found = landscape(
                panel,
                trainer,
                weights,
                _DISTRIBUTIONS,
                distances,
                count=count,
                examples=examples,
            )
            for name, along in found.items():
                row = [labels["model"], labels["dataset"], str(labels["x"]), name]
                rows.append([*row, f"{along.here:.4f}", f"{along.rise:.4f}"])
    panels[0, 0].legend(fontsize="small")
    write_figure(figure, out / "figure.png", "loss along random directions")
    header = ["model", "dataset", "epoch", "directions", "loss", "rise at distance 2"]
    notes = [f"Mean over {count} unit directions, on {examples} training examples."]
    if plan.quick:
        notes.append("Budget quick: few epochs, directions and images.")
    return Table("landscape (RBD, figure 2)", header, rows, notes)


def _trained(plan: Plan, model: str, dataset: str, epochs: int) -> Cell:
    given: dict[str, Any] = {"method": "rbd", "model": model, "dataset": dataset, "epochs": epochs}
    given |= {"data_dir": plan.data_dir, "augment": plan.augment, "checkpoint_every": epochs}
    labels = {"model": model, "dataset": dataset, "variant": "rbd", "x": epochs}
    return Cell(slug("rbd", model, dataset, f"e{epochs}"), given, (), labels)


MEASURED: dict[str, Measured] = {
    target.name: target
    for target in (
        Measured(
            "orthogonality",
            "RBD, figure B.8",
            "how orthogonal independent directions are, against n",
            _orthogonality,
        ),
        Measured(
            "landscape",
            "RBD, figure 2",
            "the loss along random directions while RBD trains",
            _landscape,
        ),
    )
}
