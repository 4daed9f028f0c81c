"""What ``subspace run`` shows at the end: the result, the folder, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

from subspace.config.run import RunConfig
from subspace.store.folder import RunFolder
from subspace.tasks import Metric

from .command import run_command, same_task
from .show import SPLITS, count, print_table, say, seconds


def show_results(
    console: Console, config: RunConfig, folder: RunFolder, summary: dict[str, Any]
) -> None:
    """A short table, the folder, and two commands that go on from here."""
    metric = Metric(*summary["metrics"][0])
    figures = {
        "parameters D": count(summary["parameters"]),
        "dimensions d": count(summary["dimensions"]),
        "compression D/d": f"{summary['compression']:,.1f}×",
        **{split: metric.show(summary[f"{split}_{metric.name}"]) for split in SPLITS},
        "seconds": seconds(summary["seconds"]),
    }
    say(console, "")
    print_table(console, list(figures), [list(figures.values())])
    say(console, "")
    pictures = f"learning curves: {folder.curve_file}"
    if folder.variance_file.exists():
        pictures += f"; explained variance: {folder.variance_file}"
    say(console, f"Wrote {folder.path} ({pictures})")
    say(console, "Next:")
    for command in next_commands(config, folder):
        say(console, f"  {command}", style="cyan")


def show_options(console: Console, config: RunConfig) -> None:
    """Every option of a run and its phases, and the value that it has."""
    shared = {name: value for name, value in config.to_json().items() if name != "phases"}
    for title, values in [("run", shared)] + [
        (phase.method.name, phase.values) for phase in config.phases
    ]:
        say(console, f"{title}:")
        for name, value in sorted(values.items()):
            say(console, f"  {name} = {value}")


def show_estimate(console: Console, config: RunConfig, found: dict[str, Any]) -> None:
    """What `subspace.run.estimate` found, a line for each phase."""
    examples = count(found["train_examples"])
    say(console, f"{config.model} on {config.data_name}: {examples} training examples")
    say(console, "")
    rows = [
        [
            phase["method"],
            count(found["parameters"]),
            "?" if phase["dimensions"] is None else count(phase["dimensions"]),
            count(phase["epochs"]),
            count(phase["steps"]),
            "?" if phase["bytes"] is None else f"{phase['bytes'] / 1e6:,.1f} MB",
            "?" if phase["seconds"] is None else seconds(phase["seconds"]),
        ]
        for phase in found["phases"]
    ]
    header = ["", "parameters D", "dimensions d", "epochs", "steps", "memory", "seconds"]
    print_table(console, header, rows, left=1)
    say(console, "")
    say(console, "Nothing was written. Memory is a device's in a step; seconds are of training")
    say(console, "steps here, without evaluation. Of ? the trajectory isn't there yet.")


def next_commands(config: RunConfig, folder: RunFolder) -> list[str]:
    """What to type next.

    After sampling alone, a method on the trajectory; else the same task with another method,
    unless that is done, and the two side by side.
    """
    here, last = shlex.quote(str(folder.path)), config.phases[-1]
    samples = last.schedule.samples
    if last.method.name == "dldr" and samples:
        dim = min(15, samples - 1)
        size = "" if dim == 15 else f" --dim {dim}"
        return [f"subspace run {method} --from {here}{size}" for method in ("psgd", "pbfgs")]
    evaluate = f"subspace evaluate {here}"
    if config.source is not None:
        both = shlex.join([config.source, str(folder.path)])
        return [f"subspace compare {both} --plot compare.png", evaluate]
    other = "rbd" if config.methods == "sgd" else "sgd"
    beside = _sibling(config, folder.path, other)
    both = shlex.join([str(folder.path), str(beside)])
    commands = [f"subspace compare {both} --plot compare.png"]
    if RunFolder(beside).summary_file.exists():
        return [*commands, evaluate]
    default = Path("runs") / f"{other}-{config.model}-{config.data_name}"
    out = None if beside == default else beside
    return [run_command(same_task(config, other), out, rate=False), *commands]


def _sibling(config: RunConfig, path: Path, method: str) -> Path:
    if path.name.startswith(config.methods):
        return path.with_name(method + path.name.removeprefix(config.methods))
    return path.with_name(f"{path.name}-{method}")
