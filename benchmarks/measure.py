"""What the benchmarks share: interleaved timing, peak memory, tables."""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Figures(NamedTuple):
    """Seconds a call, one figure a round: of the clock, and of all cores together."""

    wall: list[float]
    cpu: list[float]


def both_clocks(
    work: dict[str, Callable[[], Any]],
    repeats: int,
    seconds: float = 0.1,
    limit: float = math.inf,
) -> dict[str, Figures]:
    """Figures of each piece of work, one a round, all in turn in every round.

    A figure is the mean over enough calls to last ``seconds``; a call's result is waited for at
    the end of the batch, so that dispatch overlaps as it does in training. After the second no
    round begins later than ``limit`` seconds from the first.
    """
    calls = {}
    for name, call in work.items():
        jax.block_until_ready(call())
        calls[name] = max(1, round(seconds / _timed(call, 1)[0]))
    figures = {name: Figures([], []) for name in work}
    start = time.perf_counter()
    for turn in range(repeats):
        if turn >= 2 and time.perf_counter() - start > limit:
            break
        for name, call in work.items():
            for kept, new in zip(figures[name], _timed(call, calls[name]), strict=True):
                kept.append(new)
    return figures


def interleaved(
    work: dict[str, Callable[[], Any]], repeats: int, seconds: float = 0.1
) -> dict[str, list[float]]:
    """The clock's part of `both_clocks`."""
    return {name: each.wall for name, each in both_clocks(work, repeats, seconds).items()}


def _timed(call: Callable[[], Any], count: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call that waits for its result returns, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def ratio(figures: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of the ratios within each round."""
    ratios = sorted(a / b for a, b in zip(figures, base, strict=True))
    return statistics.median(ratios), ratios[0], ratios[-1]


def peak_memory_of(arguments: list[str]) -> float:
    """Peak resident memory in MB of this program run again with other arguments."""
    output = subprocess.run(
        [sys.executable, *sys.argv[:1], *arguments], check=True, capture_output=True, text=True
    )
    return float(output.stdout.splitlines()[-1])


def own_peak_memory() -> float:
    """Peak memory of this process in MB: of the device where it says, else resident."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory at the fork
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def device() -> str:
    return f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {platform.machine()}"


def parser(description: str | None) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_argument("--repeats", type=int, default=15, help="rounds of measurement")
    return arguments


def settings_parser(description: str | None) -> argparse.ArgumentParser:
    """`parser` of a benchmark that trains by settings with names, on a dataset."""
    arguments = parser(description)
    arguments.add_argument("--dataset", default="digits")
    arguments.add_argument("--data-dir")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", help="settings, with semicolons between them")
    return arguments


def chosen(only: str | None, settings: Iterable[str]) -> list[str]:
    """The names of the settings asked for with ``--only``; without it, of all."""
    known = list(settings)
    names = only.split(";") if only else known
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--only: there is no {unknown[0]!r}; there are {', '.join(known)}")
    return names


def show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as a Markdown table, or as one JSON object with the device."""
    if as_json:
        print(json.dumps({"title": title, "device": device(), "rows": rows}))
        return
    print(f"{title} ({device()})\n\n{header(list(rows[0]))}")
    for row in rows:
        print(line(row[name] for name in rows[0]))


class Report:
    """Markdown that grows line by line, printed and in a file: a killed run leaves all it had."""

    def __init__(self, title: str, file: Path | None):
        self._file, self._columns = file, ()
        if file is not None:
            file.write_text("")
        self.write(f"# {title}")

    def write(self, text: str) -> None:
        print(text, flush=True)
        if self._file is not None:
            with self._file.open("a") as out:
                out.write(text + "\n")

    def table(self, title: str, columns: Sequence[str]) -> None:
        """Begins one."""
        self._columns = columns
        self.write(f"\n## {title}\n\n{header(columns)}")

    def row(self, cells: dict[str, Any]) -> None:
        """The next line of the table; a column that it lacks stays empty."""
        self.write(line(cells.get(name, "") for name in self._columns))


def header(columns: Sequence[str]) -> str:
    """The first two lines of a Markdown table."""
    return f"{line(columns)}\n|{'---|' * len(columns)}"


def line(cells: Iterable[Any]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
