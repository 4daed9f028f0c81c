"""A target's results as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from subspace.plots import new_figure, plain, write_figure
from subspace.study.cell import Result
from subspace.study.table import MeanStd, grouped, metric_of
from subspace.tasks import Metric

_ROOM = 7  # lines of a legend within a panel
_MARKERS, _DASHES = "os^vDP*", ("-", "--", ":", "-.")  # colours come again after ten lines


def draw(
    file: Path,
    results: Sequence[Result],
    published: Mapping[tuple[str, str, str], str],
    title: str,
    x_label: str | None,
) -> None:
    """The test split's metric of every variant, a panel for each model and dataset, as a PNG.

    Bars, with the paper's figure as a diamond; with an ``x_label`` lines along the variants'
    places, and those that have none as level lines.
    """
    groups, metric = grouped(results), metric_of(results)
    tasks = list(dict.fromkeys((model, dataset) for model, dataset, _ in groups))
    figure = new_figure(width=4.2 * min(len(tasks), 3), height=3.6 * -(-len(tasks) // 3))
    for place, (model, dataset) in enumerate(tasks, start=1):
        panel = figure.add_subplot(-(-len(tasks) // 3), min(len(tasks), 3), place)
        here = {key[2]: group for key, group in groups.items() if key[:2] == (model, dataset)}
        if x_label is None:
            theirs = {k[2]: v for k, v in published.items() if k[:2] == (model, dataset)}
            _bars(panel, metric, here, theirs)
        else:
            _lines(panel, metric, here, x_label)
        panel.set_title(plain(f"{model} · {dataset}"), fontsize="medium")
        panel.set_ylabel(f"test {metric.title}")
        panel.grid(alpha=0.3)
    if x_label is not None:
        _legend(figure)
    write_figure(figure, file, title)


def _legend(figure: Any) -> None:
    """In each panel while it leaves room for the lines, else one below all, which makes it taller.

    Panels have the same variants, of which the first panel with the most names all.
    """
    named = [panel.get_legend_handles_labels() for panel in figure.axes]
    handles, labels = max(named, key=lambda one: len(one[1]))
    if len(labels) <= _ROOM:
        for panel, (_, own) in zip(figure.axes, named, strict=True):
            if own:
                panel.legend(fontsize="small")
        return
    columns = max(2, round(figure.get_figwidth() / 2.1))
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")


def _bars(
    panel: Any,
    metric: Metric,
    groups: Mapping[str, list[Result]],
    published: Mapping[str, str],
) -> None:
    factor = _factor(metric)
    for place, (variant, group) in enumerate(groups.items()):
        found = MeanStd.of(group, f"test_{metric.name}")
        if found.n:
            error = factor * found.std if found.n > 1 else None
            panel.bar(place, factor * found.mean, yerr=error, color=f"C{place % 10}", capsize=3)
        if variant in published:
            paper = float(published[variant].partition("±")[0])
            panel.plot(place, paper, "D", color="black", label=None if place else "paper")
    panel.set_xticks(range(len(groups)), list(groups), rotation=40, ha="right", fontsize="small")


def _lines(panel: Any, metric: Metric, groups: Mapping[str, list[Result]], x_label: str) -> None:
    factor, name = _factor(metric), f"test_{metric.name}"
    series: dict[str, list[tuple[int | float, MeanStd]]] = {}
    for variant, group in groups.items():
        found, x = MeanStd.of(group, name), group[0].cell.labels["x"]
        if not found.n:
            continue
        if x is None:
            panel.axhline(factor * found.mean, linestyle="--", color="grey")
            panel.annotate(variant, (1, factor * found.mean), xycoords=("axes fraction", "data"))
        else:
            place = _dimensions(group) if x_label == "d" else x  # shares of d are rounded up
            series.setdefault(_family(variant, x), []).append((place, found))
    for number, (family, points) in enumerate(series.items()):
        points.sort(key=lambda point: point[0])
        errors = [factor * f.std if f.n > 1 else 0 for _, f in points]
        means = [factor * f.mean for _, f in points]
        style = {"marker": _MARKERS[number % len(_MARKERS)], "linestyle": _DASHES[number // 10 % 4]}
        panel.errorbar([x for x, _ in points], means, errors, capsize=3, label=family, **style)
    places = [x for points in series.values() for x, _ in points]
    if places and min(places) > 0 and max(places) / min(places) >= 20:
        panel.set_xscale("log")
    panel.set_xlabel(x_label)


def _factor(metric: Metric) -> int:
    return 100 if metric.unit == "%" else 1


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
