"""Two processes that want one run folder at the same moment: exactly one has it.

python benchmarks/races.py [--creations 300] [--resumes 50]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.store.folder import RunFolder

HELD = 0.01  # seconds


def contend(base: str, count: int, config: RunConfig | None, barrier: Any, told: Any) -> None:
    """Wants each of so many folders, as the other process does at the same time."""
    for i in range(count):
        barrier.wait()
        try:
            with RunFolder(Path(base) / str(i)).writing(config):
                time.sleep(HELD)
            told.put((i, True))
        except InvalidInput:
            told.put((i, False))


def race(count: int, new: bool) -> tuple[int, int]:
    """Of how many folders exactly one process had it, and at least one."""
    context, config = multiprocessing.get_context("spawn"), RunConfig.resolve({"method": "rbd"})
    with tempfile.TemporaryDirectory() as base:
        for i in range(0 if new else count):
            with RunFolder(Path(base) / str(i)).writing(config):
                pass
        barrier, told = context.Barrier(2), context.Queue()
        shared = (base, count, config if new else None, barrier, told)
        processes = [context.Process(target=contend, args=shared) for _ in range(2)]
        for process in processes:
            process.start()
        found = [told.get() for _ in range(2 * count)]
        for process in processes:
            process.join()
    wins = Counter(i for i, won in found if won)
    return sum(wins[i] == 1 for i in range(count)), sum(wins[i] >= 1 for i in range(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creations", type=int, default=300)
    parser.add_argument("--resumes", type=int, default=50)
    options = parser.parse_args()
    print("| at once | folders | exactly one had it | somebody had it |\n|---|---|---|---|")
    for name, count, new in (
        ("create", options.creations, True),
        ("resume", options.resumes, False),
    ):
        one, some = race(count, new)
        print(f"| {name} | {count} | {one} | {some} |")


if __name__ == "__main__":
    main()
