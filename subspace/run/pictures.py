"""Records -> pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from subspace.plots import new_figure, plain, write_figure
from subspace.tasks import Metric


def plot_curves(
    file: Path,
    runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    metrics: Sequence[Metric],
    title: str = "",
    by_cost: bool = False,
) -> None:
    """Draws a task's metrics, one colour a run, and writes a PNG.

    Args:
        file: where; replaced whole.
        runs: (label, the epochs' records) of each.
        metrics: a panel each, at most two; the loss before others.
        title: above the panels.
        by_cost: against the cost of training, where all records tell it, and not against epochs.
    """
    every = [record for _, records in runs for record in records]
    by_cost &= all("gradient_epochs" in record for record in every)
    along = "gradient_epochs" if by_cost else "epoch"
    shown = sorted(metrics[:2], key=lambda metric: metric.name != "loss")
    figure = new_figure()
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, metric in zip(panels, shown, strict=True):
        for i, (label, records) in enumerate(runs):
            _curve(panel, f"C{i}", label, records, metric, along)
            _boundaries(panel, "grey" if len(runs) == 1 else f"C{i}", records, not label, along)
        panel.set_xlabel("cost, in gradients over the training split" if by_cost else "epoch")
        panel.set_ylabel(metric.title)
        panel.grid(alpha=0.3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="small")
    write_figure(figure, file, title)


def _curve(
    panel: Any,
    colour: str,
    label: str,
    records: Sequence[Mapping[str, Any]],
    metric: Metric,
    along: str,
) -> None:
    """Training dashed, validation solid."""
    places = [record[along] for record in records]
    factor = 100 if metric.unit == "%" else 1
    for split, style in (("train", "--"), ("validation", "-")):
        name = f"{split}_{metric.name}"
        if records and all(record.get(name) is not None for record in records):
            values = [factor * record[name] for record in records]
            marker = "o" if len(values) == 1 else None
            text = plain(" ".join(filter(None, (label, split))))
            panel.plot(places, values, style, color=colour, marker=marker, label=text)


def _boundaries(
    panel: Any, colour: str, records: Sequence[Mapping[str, Any]], named: bool, along: str
) -> None:
    """A line where one phase ends and the next begins, with the next one's method."""
    for before, after in pairwise(records):
        if before.get("phase") == after.get("phase"):
            continue
        panel.axvline(before[along], color=colour, linestyle=":", linewidth=1)
        if named:
            place = (before[along], 1.0)
            style = {"fontsize": "small", "color": colour, "va": "top"}
            panel.annotate(
                f" {after['method']}", place, xycoords=("data", "axes fraction"), **style
            )


def plot_variance(file: Path, ratio: Sequence[float] | np.ndarray, title: str = "") -> None:
    """Draws how much of a trajectory's variance its directions explain, and writes a PNG.

    The DLDR paper's figure: each direction's share, and their sum up to each.
    """
    figure = new_figure()
    panels = figure.subplots(1, 2)
    order = np.arange(1, len(ratio) + 1)
    panels[0].semilogy(order, ratio, "o-", markersize=3)
    panels[0].set_ylabel("explained variance ratio")
    panels[1].plot(order, np.cumsum(ratio), "o-", markersize=3)
    panels[1].set_ylabel("cumulative")
    panels[1].set_ylim(0, 1.02)
    for panel in panels:
        panel.set_xlabel("principal direction")
        panel.grid(alpha=0.3)
    write_figure(figure, file, title)
