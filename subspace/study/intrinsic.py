"""An answer to how many dimensions a problem needs, as a table and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from subspace import files
from subspace.config.run import RunConfig
from subspace.plots import new_figure, write_figure
from subspace.study.dimension import Answer, Point, Question, find_dimension, level
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import Table
from subspace.tasks import Metric

_PUBLISHED = {
    ("fc", "mnist"): "about 750 (their network: 199,210 parameters)",
    ("cnn", "mnist"): "about 290 (LeNet, 44,426 parameters)",
    ("cnn", "cifar10"): "about 2,900 (LeNet, 62,006 parameters)",
}
"""Li et al. 2018, fixed projections, by model and dataset; their networks aren't ours."""


def dimension(
    given: Mapping[str, Any],
    question: Question,
    out: Path,
    callback: StudyCallback = StudyCallback(),
    on_point: Callable[[Point], None] = lambda point: None,
) -> tuple[Answer, Table]:
    """Searches, and writes ``answer.json``, ``table.md``, ``table.csv`` and ``figure.png``.

    Args:
        given: fields of the runs in a subspace, as for `RunConfig.resolve`.
        question: what is asked, and the budget.
        out: folder; runs that it holds are not made again.
        on_point: called with each d that was tried.

    Raises:
        InvalidInput, Stopped: see `find_dimension`.
    """
    config = RunConfig.resolve({**given, "dim": question.low})
    with Study(out, callback) as study:
        answer = find_dimension(study, given, question, on_point)
        table = _table(answer, question, config)
        files.write_record(out / "answer.json", _record(answer, question, config))
        table.write(out)
        _draw(out / "figure.png", answer, question, table.title)
    return answer, table


def _record(answer: Answer, question: Question, config: RunConfig) -> dict[str, Any]:
    return {
        "method": config.methods,
        "model": config.model,
        "dataset": config.dataset,
        "metric": answer.metric.name,
        "target": question.target,
        "parameters": answer.parameters,
        "smallest": answer.smallest,
        "estimate": answer.estimate,
        "interval": answer.interval,
        "runs": answer.runs,
    }


def sentence(answer: Answer, question: Question) -> str:
    """What was found, in words: the interpolated d, the smallest that was tried, the interval."""
    name = f"d{100 * question.target:g}"
    if answer.smallest is None:
        most = answer.points[-1].dim if answer.points else 0
        return f"{name}: not reached up to d = {most:,}; more runs, epochs or dimensions may"
    text = f"{name} ≤ {answer.smallest:,}, the smallest d tried whose mean reaches it"
    if answer.estimate is None:
        return text
    text = f"{name} ≈ {answer.estimate:,.0f} by interpolation; {text}"
    if answer.interval:
        low, high = answer.interval
        text += f"; 95% interval {low:,.0f} to {high:,.0f} over {len(answer.baseline)} seeds"
    return text


def _table(answer: Answer, question: Question, config: RunConfig) -> Table:
    sgd, target = float(np.mean(answer.baseline)), question.target
    metric, unit = answer.metric, f" {answer.metric.unit}" if answer.metric.unit else ""
    rows = [["sgd", "–", _mean(metric, answer.baseline), "100.0"]]
    for point in answer.points:
        share = 100 * point.mean / sgd
        figures = [f"{point.learning_rate:g}", _mean(metric, point.figures), f"{share:.1f}"]
        rows.append([f"{point.dim:,}", *figures])
    notes = [
        sentence(answer, question) + ".",
        f"Best held-out {metric.name} over {config.epochs} epochs, mean ± standard deviation "
        f"of {question.seeds} seeds; the target is {metric.show(level(metric, target, sgd))}, "
        f"where SGD has {metric.show(sgd)}.",
        "The learning rate of each d is the best for seed 0 of powers of two around that of the d "
        "before, which favours seed 0 a little.",
        f"{answer.runs} runs, of at most about {question.max_runs}; D = {answer.parameters:,}.",
    ]
    published = _PUBLISHED.get((config.model, config.dataset))
    if published:
        notes.append(f"Li et al. 2018 find {published}.")
    title = f"dimension: {config.methods} on {config.model}, {config.dataset}"
    return Table(title, ["d", "lr", f"held-out {metric.name}{unit}", "% of SGD's"], rows, notes)


def _mean(metric: Metric, figures: tuple[float, ...]) -> str:
    factor, digits = (100, 1) if metric.unit == "%" else (1, 4)
    text = f"{factor * float(np.mean(figures)):.{digits}f}"
    if len(figures) > 1:
        text += f" ± {factor * float(np.std(figures, ddof=1)):.{digits}f}"
    return text


def _draw(file: Path, answer: Answer, question: Question, title: str) -> None:
    """The metric against d, every seed a dot, SGD and the target as level lines."""
    figure = new_figure(7, 4.5)
    panel = figure.add_subplot()
    metric = answer.metric
    factor = 100 if metric.unit == "%" else 1
    sgd = factor * float(np.mean(answer.baseline))
    dims = [point.dim for point in answer.points]
    panel.set_xscale("log")
    panel.set_xlim(min(dims) / 1.3, max(dims) * 1.3)
    panel.plot(dims, [factor * point.mean for point in answer.points], "o-", label="mean")
    for point in answer.points:
        seeds = [factor * one for one in point.figures]
        panel.plot([point.dim] * len(seeds), seeds, ".", color="grey", markersize=5)
    panel.axhline(sgd, linestyle="--", color="black", label=f"SGD, D = {answer.parameters:,}")
    needed = level(metric, question.target, sgd)
    panel.axhline(needed, linestyle=":", color="C3", label=f"{question.target:.0%} of SGD")
    if answer.interval:
        panel.axvspan(*answer.interval, alpha=0.2, color="C2", label="95% interval")
    if answer.estimate:
        panel.axvline(answer.estimate, color="C2")
    panel.set_xlabel("d")
    panel.set_ylabel(f"best held-out {metric.title}")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    write_figure(figure, file, title)
