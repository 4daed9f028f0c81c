"""What the benchmarks share: interleaved timing, peak memory, tables."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax


def interleaved(
    work: dict[str, Callable[[], Any]], repeats: int, seconds: float = 0.1
) -> dict[str, list[float]]:
    """Seconds per call of each piece of work, one figure a round, all in turn in every round.

    A figure is the mean over enough calls to last ``seconds``; a call's result is waited for at
    the end of the batch, so that dispatch overlaps as it does in training.
    """
    calls = {}
    for name, call in work.items():
        jax.block_until_ready(call())
        once = _timed(call, 1)
        calls[name] = max(1, round(seconds / once))
    figures: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, call in work.items():
            figures[name].append(_timed(call, calls[name]))
    return figures


def _timed(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / count


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
    return only.split(";") if only else list(settings)


def show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as a Markdown table, or as one JSON object with the device."""
    if as_json:
        print(json.dumps({"title": title, "device": device(), "rows": rows}))
        return
    print(f"{title} ({device()})\n")
    print(table(rows), end="")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows in Markdown; the first one names the columns."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row[name]) for name in columns] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
