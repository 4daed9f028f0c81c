"""What ``subspace run`` shows at the end: the result, the folder, and what to do next."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from subspace.config import RunConfig
from subspace.folder import RunFolder

from .errors import flag
from .show import count, percent, print_table, say, seconds

_TASK = ("dataset", "data_dir", "model", "augment", "validation", "seed")


def show_results(
    console: Console, config: RunConfig, folder: RunFolder, summary: dict[str, Any]
) -> None:
    """A short table, the folder, and two commands that go on from here."""
    figures = {
        "parameters D": count(summary["parameters"]),
        "dimensions d": count(summary["dimensions"]),
        "compression D/d": f"{summary['compression']:,.1f}×",
        "train": percent(summary["train_accuracy"]),
        "validation": percent(summary["validation_accuracy"]),
        "test": percent(summary["test_accuracy"]),
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


def next_commands(config: RunConfig, folder: RunFolder) -> list[str]:
    """What to type next.

    After sampling alone, a method on the trajectory; else the same task with another method,
    unless that is done, and the two side by side.
    """
    here, last = shlex.quote(str(folder.path)), config.phases[-1]
    if last.method == "dldr" and last.samples:
        dim = min(15, last.samples - 1)
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
    return [_same_task(config, beside, other), *commands]


def _sibling(config: RunConfig, path: Path, method: str) -> Path:
    if path.name.startswith(config.methods):
        return path.with_name(method + path.name.removeprefix(config.methods))
    return path.with_name(f"{path.name}-{method}")


def _same_task(config: RunConfig, out: Path, method: str) -> str:
    """A command that runs another method on the same task into ``out``."""
    bare = {"method": method, "model": config.model, "dataset": config.dataset}
    default = replace(RunConfig.resolve(bare), model="fc", dataset="digits")
    pairs = [(name, getattr(config, name), getattr(default, name)) for name in _TASK]
    pairs.append(("epochs", config.epochs, default.epochs))
    size = config.phases[0].batch_size
    pairs.append(("batch_size", size, default.phases[0].batch_size))
    words = ["subspace", "run", method]
    for name, value, usual in pairs:
        if value == usual:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{name}")
        else:
            words += [flag(name), str(value)]
    if out != Path("runs") / f"{method}-{config.model}-{config.dataset}":
        words += ["--out", str(out)]
    return shlex.join(words)
