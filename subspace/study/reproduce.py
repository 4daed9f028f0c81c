"""A target's runs, table and figure in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from subspace.store import tuned
from subspace.study import table
from subspace.study.cell import Cell, Result
from subspace.study.figure import draw
from subspace.study.folder import Study, StudyCallback
from subspace.study.target import Plan, Target, keep


def reproduce(
    target: Target,
    plan: Plan,
    out: Path,
    callback: StudyCallback = StudyCallback(),
) -> table.Table:
    """Makes the runs of a target that are missing in ``out``, and writes what came of them.

    Writes ``plan.json``, ``table.md``, ``table.csv`` and ``figure.png``; the runs themselves are
    run folders under ``runs/``.

    Raises:
        InvalidInput, Stopped: see `Study`.

    Examples:
        >>> target = TARGETS["table1"]
        >>> reproduce(target, target.plan("quick"), Path("table1"))
    """
    with Study(out, callback) as study:
        results = study.make(_with_tuned_rates(target.cells(plan), callback))
        header, rows = table.rows(results, target.published, target.measures)
        title = f"{target.name}: {target.description} ({target.source})"
        found = table.Table(title, header, rows, deviations(target, plan, results))
        keep(out, target.name, plan, found)
        draw(out / "figure.png", results, target.published, target.name, target.x_label)
    return found


def _with_tuned_rates(cells: Sequence[Cell], callback: StudyCallback) -> list[Cell]:
    """With the learning rates that were found for such runs before, where a cell gives none."""
    found = [tuned.find(cell.given) for cell in cells]
    for text in dict.fromkeys(text for one in found for text in one.warnings):
        callback.on_warning(f"{text}; ignored")
    rates = [{} if rate is None else {"learning_rate": rate} for rate, _ in found]
    return [
        replace(cell, given={**cell.given, **rate}) for cell, rate in zip(cells, rates, strict=True)
    ]


def deviations(target: Target, plan: Plan, results: Sequence[Result]) -> list[str]:
    """What differs from the paper's protocol, and what all figures have in common."""
    notes = ["Mean ± standard deviation over n seeds, of the parameters after the last epoch."]
    if target.published:
        notes.append("The paper prints validation accuracy, unless its table says otherwise.")
    if target.remark:
        notes.append(target.remark)
    if plan.epochs != target.epochs:
        notes.append(f"{plan.epochs} epochs where the paper has {target.epochs}.")
    if plan.seeds != 3:
        notes.append(f"{plan.seeds} seeds where the paper has 3.")
    if plan.augment is False:
        notes.append("No augmentation, where the paper's text describes random crops and more.")
    if "cifar10_jpeg" in plan.datasets:
        notes.append(
            "cifar10_jpeg holds CIFAR-10's images after JPEG compression, which loses detail: "
            "its figures are not CIFAR-10's."
        )
    others = [name for name in plan.datasets if name not in (*target.datasets, "cifar10_jpeg")]
    if others:
        notes.append(f"The paper has no {' or '.join(others)}: nothing to compare with.")
    if any(name not in target.models for name in plan.models):
        notes.append(f"The paper's network is {' and '.join(target.models)}.")
    notes.append(
        "Validation: a random tenth of the training images, where the RBD code holds out its "
        "last 10,000; lr: that of the last phase, by `subspace tune` where it was asked, else the "
        "paper's where it names one, see `subspace list`."
    )
    if plan.quick:
        notes.append("Budget quick: sizes are scaled down too; only the way it is done is shown.")
    lost = [result.cell.name for result in results if result.summary is None]
    if lost:
        notes.append(f"Diverged: {', '.join(lost)}.")
    return notes
