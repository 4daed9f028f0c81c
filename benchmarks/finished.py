"""What benchmarks of runs that are there already share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from subspace.store.folder import RunFolder


def parser(description: str | None) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    arguments.add_argument("curves", nargs="+", metavar="NAME=RUN,RUN,...")
    arguments.add_argument("--plot", type=Path)
    return arguments


def named(curves: Sequence[str]) -> dict[str, list[RunFolder]]:
    """The runs of each curve, by its name."""
    pairs = [text.partition("=")[::2] for text in curves]
    return {name: [RunFolder(Path(run)) for run in runs.split(",")] for name, runs in pairs}
