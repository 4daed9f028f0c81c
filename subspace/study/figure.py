"""A target's results as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from subspace.plots import new_figure, write_figure
from subspace.study.cell import Result
from subspace.study.table import MeanStd, grouped


def draw(
    file: Path,
    results: Sequence[Result],
    published: Mapping[tuple[str, str, str], str],
    title: str,
    x_label: str | None,
) -> None:
    """Test accuracy of every variant, a panel for each model and dataset, as a PNG.

    Bars, with the paper's figure as a diamond; with an ``x_label`` lines along the variants'
    places, and those that have none as level lines.
    """
    groups = grouped(results)
    tasks = list(dict.fromkeys((model, dataset) for model, dataset, _ in groups))
    figure = new_figure(width=4.2 * min(len(tasks), 3), height=3.6 * -(-len(tasks) // 3))
    for place, (model, dataset) in enumerate(tasks, start=1):
        panel = figure.add_subplot(-(-len(tasks) // 3), min(len(tasks), 3), place)
        here = {key[2]: group for key, group in groups.items() if key[:2] == (model, dataset)}
        if x_label is None:
            _bars(panel, here, {k[2]: v for k, v in published.items() if k[:2] == (model, dataset)})
        else:
            _lines(panel, here, x_label)
        panel.set_title(f"{model} · {dataset}", fontsize="medium")
        panel.set_ylabel("test accuracy, %")
        panel.grid(alpha=0.3)
    write_figure(figure, file, title)


def _bars(panel: Any, groups: Mapping[str, list[Result]], published: Mapping[str, str]) -> None:
    for place, (variant, group) in enumerate(groups.items()):
        found = MeanStd.of(group, "test_accuracy")
        if found.n:
            error = 100 * found.std if found.n > 1 else None
            panel.bar(place, 100 * found.mean, yerr=error, color=f"C{place % 10}", capsize=3)
        if variant in published:
            paper = float(published[variant].partition("±")[0])
            panel.plot(place, paper, "D", color="black", label=None if place else "paper")
    panel.set_xticks(range(len(groups)), list(groups), rotation=40, ha="right", fontsize="small")


def _lines(panel: Any, groups: Mapping[str, list[Result]], x_label: str) -> None:
    series: dict[str, list[tuple[int | float, MeanStd]]] = {}
    for variant, group in groups.items():
        found, x = MeanStd.of(group, "test_accuracy"), group[0].cell.labels["x"]
        if not found.n:
            continue
        if x is None:
            panel.axhline(100 * found.mean, linestyle="--", color="grey")
            panel.annotate(variant, (1, 100 * found.mean), xycoords=("axes fraction", "data"))
        else:
            place = _dimensions(group) if x_label == "d" else x  # shares of d are rounded up
            series.setdefault(_family(variant, x), []).append((place, found))
    for name, points in series.items():
        points.sort(key=lambda point: point[0])
        errors = [100 * f.std if f.n > 1 else 0 for _, f in points]
        means = [100 * f.mean for _, f in points]
        panel.errorbar([x for x, _ in points], means, errors, marker="o", capsize=3, label=name)
    places = [x for points in series.values() for x, _ in points]
    if places and min(places) > 0 and max(places) / min(places) >= 20:
        panel.set_xscale("log")
    panel.set_xlabel(x_label)
    if series:
        panel.legend(fontsize="small")


def _dimensions(group: Sequence[Result]) -> int:
    return next(one.summary["dimensions"] for one in group if one.summary)


def _family(variant: str, x: int | float) -> str:
    """A variant's name without its place: ``rbd d=10`` is one of ``rbd``."""
    words = [word for word in variant.split() if f"{x:g}" != word.lstrip("cdD=/")]
    return " ".join(word for word in words if not word.startswith("D/"))


def band(
    panel: Any, distances: Sequence[float] | np.ndarray, losses: np.ndarray, name: str
) -> None:
    """Draws losses, a row a direction: their mean, and their standard deviation as a band."""
    mean, std = losses.mean(axis=0), losses.std(axis=0)
    (line,) = panel.plot(distances, mean, label=name)
    panel.fill_between(distances, mean - std, mean + std, alpha=0.2, color=line.get_color())
    panel.set_xlabel("distance")
    panel.set_ylabel("loss")
    panel.grid(alpha=0.3)
