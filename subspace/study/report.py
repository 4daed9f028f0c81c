"""Runs and studies under a folder -> one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspace import files
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.plots import new_figure, plain, png
from subspace.store.folder import RunFolder
from subspace.study.page import MARK, Block, Cells, page
from subspace.tasks import Metric

_PICTURED = 60
"""So many runs show their pictures; a page with more would be slow to open."""


@dataclass(frozen=True)
class Contents:
    """What lies under a folder.

    Attributes:
        runs: finished ones, each with its configuration and summary.
        studies: folders with a table and a figure, each as its block of the page.
        unread: why what else is there isn't in the page: unfinished, or damaged.
    """

    runs: Sequence[tuple[RunFolder, RunConfig, dict[str, Any]]]
    studies: Sequence[Block]
    unread: Mapping[Path, str]


def find(root: Path) -> Contents:
    """Looks through a folder and what is beneath it.

    Raises:
        InvalidInput: there is no such folder, or nothing of this package in it.
    """
    if not root.is_dir():
        raise InvalidInput("folder", f"there is no folder {root}")
    runs, studies, unread = [], [], {}
    for file in sorted(root.rglob("config.json")):
        folder = RunFolder(file.parent, writes=False)
        try:
            runs.append((folder, folder.read_config("run"), folder.summary()))
        except InvalidInput as error:
            unread[file.parent] = error.reason
    for file in sorted(root.rglob("table.csv")):
        try:
            studies.append(_study(file.parent, root))
        except (InvalidInput, ValueError, csv.Error) as error:
            why = error.reason if isinstance(error, InvalidInput) else "its table is damaged"
            unread[file.parent] = why
    if not (runs or unread or studies):
        raise InvalidInput("folder", f"{root} holds no runs and no studies")
    return Contents(runs, studies, unread)


def write_report(root: Path, file: Path, command: Callable[[RunConfig], str]) -> Contents:
    """Writes the page: every run in a sortable table, studies, pictures, configurations, commands.

    Args:
        root: where to look.
        file: the page.
        command: what makes such a run, for people to copy.

    Raises:
        InvalidInput: nothing to report, or the file can't be written.
    """
    _check_out(file)
    found = find(root)
    blocks = [_overview(found, root), *found.studies]
    runs = enumerate(found.runs)
    blocks += [_run(*run, root, command, pictures=i < _PICTURED) for i, run in runs]
    try:
        text = page(f"subspace: {root.resolve().name}", blocks)
        files.replace(file, text.encode(errors="replace"))
    except OSError as error:
        raise InvalidInput("out", f"can't write {file}: {error.strerror}") from None
    return found


def _check_out(file: Path) -> None:
    """Raises InvalidInput unless it is a new page, or one to replace."""
    if file.suffix != ".html":
        raise InvalidInput("out", f"{file} must end in .html")
    if not file.parent.is_dir():
        raise InvalidInput("out", f"there is no folder {file.parent}; make it first")
    if os.path.lexists(file) and MARK.encode() not in files.read(file, "out"):
        raise InvalidInput("out", f"{file} is there already, and no report; choose another name")


_COLUMNS: Mapping[str, str] = {
    "method": "method",
    "model": "model",
    "dataset": "dataset",
    "d": "dimensions",
    "metric": "metric",
    "test": "test",
    "validation": "validation",
    "train": "train",
    "lr": "learning_rate",
    "epochs": "epochs",
    "seed": "seed",
    "basis": "basis",
    "D": "parameters",
    "D/d": "compression",
    "seconds": "seconds",
}


def _overview(found: Contents, root: Path) -> Block:
    rows = []
    for folder, _, summary in found.runs:
        metric = Metric(*summary["metrics"][0])
        shown = summary | {split: summary.get(f"{split}_{metric.name}") for split in _SPLITS}
        shown |= {"metric": metric.title}
        cells = [_cell(name, shown.get(field), metric) for name, field in _COLUMNS.items()]
        rows.append([(_place(folder.path, root), None), *cells])
    notes = [f"{len(found.runs)} finished runs; click a heading to sort."]
    if len(found.runs) > _PICTURED:
        notes.append(f"Pictures of the first {_PICTURED} runs only.")
    notes += [f"Left out: {_place(path, root)}: {why}" for path, why in found.unread.items()]
    pictures = [_figures(found)] if found.runs else []
    return Block("Runs", Cells(["run", *_COLUMNS], rows) if rows else None, pictures, notes)


_SPLITS = ("test", "validation", "train")


def _cell(name: str, value: Any, metric: Metric) -> tuple[str, float | None]:
    """How a value is shown, and what it is sorted by."""
    if value is None:
        return "–", None
    if isinstance(value, str):
        return value, None
    if name in _SPLITS:
        return metric.show(value).removesuffix("%"), float(value)
    return (f"{value:,.1f}" if name in ("D/d", "seconds") else f"{value:,.6g}"), float(value)


def _figures(found: Contents) -> str:
    """The metric on the test split against d, a panel for each task, a colour for each method."""
    groups: dict[tuple[str, str, Metric], list[dict[str, Any]]] = {}
    for _, _, summary in found.runs:
        key = summary["model"], summary["dataset"], Metric(*summary["metrics"][0])
        groups.setdefault(key, []).append(summary)
    methods = list(dict.fromkeys(summary["method"] for _, _, summary in found.runs))
    shown = list(groups.items())[:9]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = new_figure(4.4 * columns, 3.4 * lines)
    for place, ((model, dataset, metric), summaries) in enumerate(shown, start=1):
        panel = figure.add_subplot(lines, columns, place)
        factor = 100 if metric.unit == "%" else 1
        for i, method in enumerate(methods):
            here = [one for one in summaries if one["method"] == method]
            heights = [factor * one[f"test_{metric.name}"] for one in here]
            dims = [one["dimensions"] for one in here]
            if here:
                panel.plot(dims, heights, "o", color=f"C{i % 10}", label=plain(method), alpha=0.7)
        panel.set_xscale("log")
        panel.set_title(plain(f"{model} · {dataset}"), fontsize="medium")
        panel.set_xlabel("dimensions d")
        panel.set_ylabel(f"test {metric.title}")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    return _embedded(png(figure, 110))


def _study(path: Path, root: Path) -> Block:
    """A study's table and figure; raises InvalidInput, ValueError or csv.Error if damaged."""
    header, *rows = csv.reader(io.StringIO(files.read(path / "table.csv", "folder").decode()))
    title, *lines = files.read(path / "table.md", "folder").decode().splitlines()
    if any(len(row) != len(header) for row in rows):
        raise ValueError("rows of other lengths")
    notes = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    cells = Cells(header, [[(text, _sortable(text)) for text in row] for row in rows])
    pictures = [_picture(path / "figure.png")]
    return Block(f"{title.removeprefix('# ')} ({_place(path, root)})", cells, pictures, notes)


def _sortable(text: str) -> float | None:
    """The number a cell begins with, if it does."""
    try:
        return float(text.split()[0].replace(",", ""))
    except (ValueError, IndexError):
        return None


def _run(
    folder: RunFolder,
    config: RunConfig,
    summary: Mapping[str, Any],
    root: Path,
    command: Callable[[RunConfig], str],
    pictures: bool,
) -> Block:
    drawn = [folder.curve_file, folder.variance_file] if pictures else []
    drawn += [folder.path / f"{name}.png" for name in _PROBES] if pictures else []
    shown = [_picture(file) for file in drawn if file.is_file()]
    details = {
        "config.json": json.dumps(config.to_json(), indent=2),
        "summary.json": json.dumps(summary, indent=2),
    }
    return Block(_place(folder.path, root), None, shown, [], command(config), details)


_PROBES = ("landscape", "correlation", "orthogonality")


def _place(path: Path, root: Path) -> str:
    relative = path.relative_to(root)
    return str(relative) if relative.parts else root.resolve().name


def _picture(file: Path) -> str:
    return _embedded(files.read(file, "folder"))


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
