"""Results -> rows, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspace import files
from subspace.data.same import images_of
from subspace.study.cell import Result
from subspace.tasks import Metric


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of n runs, of which some may have diverged."""

    mean: float
    std: float
    n: int
    diverged: int = 0

    @classmethod
    def of(cls, results: Sequence[Result], field: str) -> MeanStd:
        """Of a field of the summaries or their diagnostics; the deviation is the sample's."""
        found = [_value(result.summary, field) for result in results if result.summary]
        values = [float(value) for value in found if value is not None]
        lost = sum(result.summary is None for result in results)
        mean = statistics.fmean(values) if values else math.nan
        std = statistics.stdev(values) if len(values) > 1 else math.nan
        return cls(mean, std, len(values), lost)

    def text(self, metric: Metric) -> str:
        """``82.7 ± 0.2`` of a percentage, ``2.310 ± 0.004`` of others."""
        return self._text(100.0, 1) if metric.unit == "%" else self.plain()

    def plain(self) -> str:
        """``0.420 ± 0.010``"""
        return self._text(1.0, 3)

    def _text(self, factor: float, digits: int) -> str:
        if not self.n:
            return "diverged" if self.diverged else "–"
        text = f"{factor * self.mean:.{digits}f}"
        if self.n > 1:
            text += f" ± {factor * self.std:.{digits}f}"
        return f"{text} ({self.diverged} diverged)" if self.diverged else text


def _value(summary: Mapping[str, Any], field: str) -> int | float | None:
    """A figure of a run, or the mean of one of its diagnostics."""
    return summary.get(field, summary.get("diagnostics", {}).get(field))


@dataclass(frozen=True)
class Table:
    """Text cells under a header, and sentences on how they came about."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        lines = [f"# {self.title}", ""]
        lines += [_line(self.header), _line(["---"] * len(self.header))]
        lines += [_line(row) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([self.header, *self.rows])
        return text.getvalue()

    def write(self, out: Path) -> None:
        """``table.md`` and ``table.csv`` in a folder."""
        files.replace(out / "table.md", self.markdown().encode())
        files.replace(out / "table.csv", self.csv().encode())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def grouped(results: Sequence[Result]) -> dict[tuple[str, str, str], list[Result]]:
    """By (model, dataset, variant), in their order."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        labels = result.cell.labels
        key = labels["model"], labels["dataset"], labels["variant"]
        groups.setdefault(key, []).append(result)
    return dict(sorted(groups.items(), key=lambda item: _order(results, item[0])))


def _order(results: Sequence[Result], key: tuple[str, str, str]) -> tuple[int, int, int]:
    """Rows of one dataset stand together, then those of one model, as in the papers."""
    seen = [[result.cell.labels[name] for result in results] for name in _KEYS]
    model, dataset, variant = (column.index(value) for column, value in zip(seen, key, strict=True))
    return model, dataset, variant


_KEYS = ("model", "dataset", "variant")


def rows(
    results: Sequence[Result],
    published: Mapping[tuple[str, str, str], str],
    measures: Sequence[str] = (),
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a target's table, the paper's figure beside ours."""
    metric = metric_of(results)
    unit = f" {metric.unit}" if metric.unit else ""
    header = ["model", "dataset", "variant", "d", "lr", "paper %"]
    header += [*(f"{split}{unit}" for split in _SPLITS), "gradient epochs", "n"]
    lines = []
    for (model, dataset, variant), group in grouped(results).items():
        theirs = published.get((model, images_of(dataset), variant), "–")
        first: dict[str, Any] = next((r.summary for r in group if r.summary), {})
        line = [model, dataset, variant, _number(first.get("dimensions"))]
        line += [_number(first.get("learning_rate")), theirs.replace("±", " ± ")]
        line += [MeanStd.of(group, f"{split}_{metric.name}").text(metric) for split in _SPLITS]
        cost = MeanStd.of(group, "gradient_epochs")
        line += [f"{cost.mean:,.1f}" if cost.n else "–", str(len(group))]
        line += [MeanStd.of(group, name).plain() for name in measures]
        lines.append(line)
    return header + [name.replace("_", " ") for name in measures], lines


def metric_of(results: Sequence[Result]) -> Metric:
    """What the runs are compared by."""
    found = (Metric(*r.summary["metrics"][0]) for r in results if r.summary)
    return next(found, Metric("accuracy", "%", maximise=True))


_SPLITS = ("test", "validation")


def _number(value: int | float | None) -> str:
    return "–" if value is None else f"{value:,.6g}"
