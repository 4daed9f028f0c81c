"""Runs over a grid of options, or over random ones: a table, best first, and a picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from subspace.errors import InvalidInput, is_whole
from subspace.plots import new_figure, plain, write_figure
from subspace.study.cell import Cell, Result, slug
from subspace.study.table import MeanStd, Table, metric_of
from subspace.tasks import Metric

_MOST = 10_000  # runs
_LINES = 10


class Range(NamedTuple):
    """Numbers between two, or with ``log`` their logarithms; whole ones between whole ones."""

    low: int | float
    high: int | float
    log: bool = False

    @classmethod
    def of(cls, name: str, told: Mapping[str, Any]) -> Range:
        """``{low = 0.01, high = 1, log = true}``.

        Raises:
            InvalidInput: it says anything else.
        """
        found = cls(told.get("low", math.nan), told.get("high", math.nan), told.get("log", False))
        numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in found[:2])
        known = told.keys() <= {"low", "high", "log"} and isinstance(found.log, bool)
        if not (numbers and known and found.low < found.high and (found.low > 0 or not found.log)):
            raise InvalidInput(
                "file", f"{name}: a range is {{low = 0.01, high = 1, log = true}}, low below high"
            )
        return found

    def draw(self, rng: np.random.Generator) -> int | float:
        if is_whole(self.low) and is_whole(self.high):
            if not self.log:
                return int(rng.integers(int(self.low), int(self.high) + 1))
            return min(int(self.high), int(math.exp(rng.uniform(*self._ends(self.high + 1)))))
        if self.log:
            return float(f"{math.exp(rng.uniform(*self._ends(self.high))):.4g}")
        return float(f"{rng.uniform(self.low, self.high):.4g}")

    def _ends(self, high: int | float) -> tuple[float, float]:
        return math.log(self.low), math.log(high)


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the options' values, the last option's first.

    Raises:
        InvalidInput: no values, or more combinations than anybody waits for.
    """
    for name, values in axes.items():
        if not values:
            raise InvalidInput("file", f"{name}: give a list of values")
    if math.prod(map(len, axes.values())) > _MOST:
        raise InvalidInput("file", f"the grid has more than {_MOST:,} runs; use fewer values")
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def random(
    axes: Mapping[str, Sequence[Any] | Range], trials: int, seed: int
) -> list[dict[str, Any]]:
    """So many points, each option drawn from its values or range, by a seed."""
    if not 1 <= trials <= _MOST:
        raise InvalidInput("file", f"trials: give 1 to {_MOST:,}, got {trials}")
    rng = np.random.default_rng(seed)
    return [
        {
            name: axis.draw(rng) if isinstance(axis, Range) else axis[int(rng.integers(len(axis)))]
            for name, axis in axes.items()
        }
        for _ in range(trials)
    ]


def cells(
    given: Mapping[str, Any], then: Sequence[Mapping[str, Any]], points: Sequence[dict[str, Any]]
) -> Iterator[Cell]:
    """A run for each point; the same point twice is one."""
    seen = set()
    for point in points:
        name = slug(*(f"{key}={value}" for key, value in point.items()))
        if name not in seen:
            seen.add(name)
            yield Cell(name, {**given, **point}, then, labels=point)


def table(results: Sequence[Result], title: str) -> Table:
    """A line for each point, seeds together, the best on what is held out first."""
    metric = metric_of(results)
    names = _names(results)
    lines = []
    for point, group in _ranked(results, metric):
        figures = [
            MeanStd.of(group, f"{split}_{metric.name}").text(metric)
            for split in ("train", "validation", "test")
        ]
        lines.append([*(_shown(value) for value in point), *figures, str(len(group))])
    unit = f" {metric.unit}" if metric.unit else ""
    head = [*names, *(f"{split}{unit}" for split in ("train", "validation", "test")), "n"]
    return Table(title, head, lines, ["Best on held-out examples first; ± over seeds."])


def best(results: Sequence[Result]) -> dict[str, Any]:
    """The options of the best point."""
    names = _names(results)
    return dict(zip(names, _ranked(results, metric_of(results))[0][0], strict=True))


def draw(results: Sequence[Result], file: Path, title: str) -> None:
    """The held-out metric along the first option that is a number, a line for each of the rest."""
    metric = metric_of(results)
    names = _names(results)
    points = _grouped(results)
    along = next((i for i, _ in enumerate(names) if _is_axis([p[i] for p in points])), None)
    figure = new_figure(6.5, 4.2)
    panel = figure.add_subplot()
    lines: dict[str, list[tuple[float, MeanStd]]] = {}
    for number, (point, group) in enumerate(points.items()):
        rest = ", ".join(
            f"{n}={_shown(v)}"
            for i, (n, v) in enumerate(zip(names, point, strict=True))
            if i != along
        )
        x = number if along is None else float(point[along])
        lines.setdefault(rest, []).append((x, MeanStd.of(group, f"validation_{metric.name}")))
    factor = 100.0 if metric.unit == "%" else 1.0
    for number, (rest, found) in enumerate(lines.items()):
        found.sort(key=lambda one: one[0])
        style = "o" if len(lines) > _LINES or along is None else "os^vDP*X<>"[number] + "-"
        panel.errorbar(
            [x for x, _ in found],
            [factor * one.mean for _, one in found],
            [0 if math.isnan(one.std) else factor * one.std for _, one in found],
            fmt=style,
            capsize=3,
            label=plain(rest) if rest and len(lines) <= _LINES else None,
        )
    if along is not None:
        values = [float(point[along]) for point in points]
        if min(values) > 0 and max(values) / min(values) >= 8:
            panel.set_xscale("log")
        if len(set(values)) <= _LINES:
            panel.set_xticks(sorted(set(values)), [f"{x:g}" for x in sorted(set(values))])
            panel.minorticks_off()
        panel.set_xlabel(plain(names[along].replace("_", " ")))
    else:
        panel.set_xticks(range(len(points)), ["\n".join(map(_shown, p)) for p in points])
    panel.set_ylabel(f"validation {metric.title}")
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="small")
    write_figure(figure, file, title)


def _names(results: Sequence[Result]) -> list[str]:
    """The options that vary, but for the seed."""
    return [name for name in results[0].cell.labels if name != "seed"]


def _is_axis(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and len(set(values)) > 1


def _grouped(results: Sequence[Result]) -> dict[tuple[Any, ...], list[Result]]:
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for one in results:
        point = tuple(value for name, value in one.cell.labels.items() if name != "seed")
        groups.setdefault(point, []).append(one)
    return groups


def _ranked(
    results: Sequence[Result], metric: Metric
) -> list[tuple[tuple[Any, ...], list[Result]]]:
    def place(item: tuple[Any, list[Result]]) -> float:
        mean = MeanStd.of(item[1], f"validation_{metric.name}").mean
        if math.isnan(mean):
            return math.inf
        return -mean if metric.maximise else mean

    return sorted(_grouped(results).items(), key=place)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
