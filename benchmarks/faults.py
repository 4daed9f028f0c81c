"""Kills processes of a run at random moments, resumes, and compares with a run left alone.

    python benchmarks/faults.py [--trials 20] [--json]

Each trial starts a run of 2 processes on this machine, kills one of them with SIGKILL after a
random time, resumes the run to its end and compares every array of its last checkpoint, bit for
bit, with those of a run that nobody disturbed. No checkpoint may be lost but the one being written:
the newest one is to be an epoch before that, or where none was being written at most an epoch
before the last record. (A record is written while the checkpoint before it may still be.)
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np

from subspace.store.checkpoint import Checkpoints

EPOCHS, STEPS = 20, 40
LAUNCH = [sys.executable, "-m", "subspace_cli", "launch", "--devices-per-process", "1", "--"]
RUN = ["run", "rbd", "--dim", "50", "--error-feedback", "--lr", "0.02", "--epochs", str(EPOCHS)]


def launch(out: Path, *more: str) -> subprocess.Popen[str]:
    words = [*LAUNCH, *RUN, "--out", str(out), *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(out: Path, *more: str) -> None:
    process = launch(out, *more)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}:\n{output}")


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [pid for pid, parent in pairs if parent == process.pid]


def arrays(out: Path) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(out / "checkpoints")
    try:
        return checkpoints.newest()[0]
    finally:
        checkpoints.close()


def last_record(out: Path) -> int:
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def kill_one(out: Path, chance: random.Random, window: float) -> str:
    """Starts a run, kills one of its processes at a random moment; what that interrupted."""
    process = launch(out)
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"\[0\] rbd: ", line):  # the folder is there, compilation begins
            break
    time.sleep(chance.uniform(0, window))
    victims = children(process)
    if victims:
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(chance.choice(victims))])
    saving = any(out.glob("checkpoints/*tmp*"))
    process.communicate()
    return "nothing" if not victims else "a save" if saving else "a step"


def trial(folder: Path, chance: random.Random, window: float, expected: Any) -> dict[str, Any]:
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    interrupted = kill_one(out, chance, window)
    saved = [int(path.name) for path in out.glob("checkpoints/*") if path.name.isdigit()]
    newest, recorded = max(saved, default=0), last_record(out)
    writing = [int(path.name.partition(".")[0]) for path in out.glob("checkpoints/*tmp*")]
    if not saved:  # there is nothing to go on from, and nothing was lost
        shutil.rmtree(out)
    finish(out, *(["--resume"] if saved else []))
    found = arrays(out)
    same = found.keys() == expected.keys() and all(
        np.array_equal(found[name], array) for name, array in expected.items()
    )
    return {
        "interrupted": interrupted,
        "newest checkpoint": newest,
        "last record": recorded,
        "lost": newest < min([recorded, *writing]) - STEPS,
        "same bits": same,
    }


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finish(folder / "straight")
        expected = arrays(folder / "straight")
        process = launch(folder / "timed")
        assert process.stdout is not None
        starts = [
            time.monotonic() for line in process.stdout if line.startswith(("[0] rbd", "[0] ep"))
        ]
        window = starts[-1] - starts[0]
        rows = [trial(folder, chance, window, expected) for _ in range(options.trials)]
    good = sum(row["same bits"] and not row["lost"] for row in rows)
    title = f"{good} of {len(rows)} runs that were killed end as the one left alone"
    measure.show(title, rows, options.json)


if __name__ == "__main__":
    main()
