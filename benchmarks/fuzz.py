"""Hostile input for as long as one likes: command lines, damaged files, runs that are killed.

    python benchmarks/fuzz.py [--minutes 30] [--seed 0]

Rounds of each kind take turns, each in a process of its own, so that a crash or a hang is counted
like any other fault. Prints how often each outcome came, and every fault with what made it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

LONGEST = 300  # seconds of a round
EXAMPLES = {"runs": 20, "others": 60, "files": 8}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


def drawn(kind: str, seed: int, counts: Counter[str]) -> None:
    """A round of hypothesis; raises what it finds."""
    import fuzzing
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    def many(strategy: Any, check: Any) -> None:
        def one(example: Any) -> None:
            counts[check(example)] += 1

        phases, checks = [Phase.generate, Phase.shrink], list(HealthCheck)
        limits: Any = {"suppress_health_check": checks, "phases": phases, "database": None}
        test = given(strategy)(one)
        settings(max_examples=EXAMPLES[kind], deadline=None, **limits)(seeded(seed)(test))()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if kind == "files":
            fuzzing.make_runs(folder)
            for victim, good in fuzzing.good_answers(folder):

                def damaged(edits: Any, victim: Any = victim, good: Any = good) -> str:
                    return f"file {fuzzing.check_damaged(folder, victim, good, edits)}"

                many(fuzzing.EDITS, damaged)
            return

        def ended(words: list[str]) -> str:
            with tempfile.TemporaryDirectory(dir=folder) as here:
                told = fuzzing.overwrites_nothing(Path(here), words)
            return f"command, exit code {told.code}"

        many(fuzzing.runs() if kind == "runs" else fuzzing.others(), ended)


def killed(seed: int, counts: Counter[str], straight: dict[str, Any]) -> None:
    """A run that is killed at a random moment and resumed ends as if it hadn't been."""
    choose = random.Random(seed)
    number = SIGNALS[seed % len(SIGNALS)]
    command = [sys.executable, "-m", "subspace_cli", "run"]
    words = ["rbd", "--epochs", "40", "--batch-size", "16", "--dim", "20", "--lr", "0.5"]
    with tempfile.TemporaryDirectory() as temporary:
        if "arrays" not in straight:
            subprocess.run([*command, *words, "--out", "s"], cwd=temporary, check=True, **QUIET)
            straight["arrays"] = final(Path(temporary) / "s")
        began = time.monotonic()
        process = subprocess.Popen([*command, *words, "--out", "r"], cwd=temporary, **QUIET)
        time.sleep(choose.uniform(0.3, straight.setdefault("seconds", 8.0)))
        process.send_signal(number)
        code = process.wait(timeout=LONGEST)
        name = signal.Signals(number).name
        path = Path(temporary) / "r"
        if code == 0:
            straight["seconds"] = max(3.0, (time.monotonic() - began) * 0.8)
        again = ["--resume"] if (path / "config.json").exists() else words
        resumed = subprocess.run(
            [*command, *again, "--out", "r"], cwd=temporary, capture_output=True, text=True
        )
        assert resumed.returncode == 0, f"{name}: {resumed.stderr[-500:]}"
        assert final(path) == straight["arrays"], f"{name} after seed {seed}: another end"
        counts[f"{name}: {'ended before' if code == 0 else 'resumed, the same bits'}"] += 1


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def final(path: Path) -> dict[str, str]:
    """The bits of a run's last weights, and its epochs."""
    from cli_helpers import final_arrays, timeless  # pyright: ignore[reportMissingImports]

    arrays = final_arrays(path)
    found = {name: array.tobytes().hex() for name, array in arrays.items()}
    return found | {"records": json.dumps(timeless(path))}


def round_of(kind: str, seed: int) -> tuple[Counter[str], str | None]:
    """A round in a process of its own: its counts, and the fault that ended it."""
    command = [sys.executable, __file__, "--one", kind, "--seed", str(seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return Counter({"hang": 1}), f"{kind}, seed {seed}: no end in {LONGEST} s"
    counts = Counter(json.loads(done.stdout.splitlines()[-1])) if done.stdout else Counter()
    if done.returncode == 0:
        return counts, None
    outcome = "fault" if done.returncode > 0 else f"ended by signal {-done.returncode}"
    return counts + Counter({outcome: 1}), f"{kind}, seed {seed}: {done.stderr[-1500:]}"


def one(kind: str, seed: int) -> None:
    """What a round's process does."""
    counts: Counter[str] = Counter()
    try:
        if kind == "kills":
            straight: dict[str, Any] = {}
            for i in range(6):
                killed(6 * seed + i, counts, straight)
        else:
            drawn(kind, seed, counts)
    finally:
        print(json.dumps(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="runs,others,files,kills")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.seed)
        return
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup runs would inherit its being ignored
    until, seed, faults = time.monotonic() + 60 * options.minutes, options.seed, []
    counts: Counter[str] = Counter()
    while time.monotonic() < until:
        for kind in options.kinds.split(","):
            found, fault = round_of(kind, seed)
            counts += found
            faults += [fault] if fault else []
            if fault:
                print(fault, file=sys.stderr, flush=True)
        seed += 1
    print("| outcome | count |\n|---|---|")
    for outcome, count in sorted(counts.items()):
        print(f"| {outcome} | {count:,} |")
    print(f"\n{len(faults)} faults in {seed - options.seed} rounds of each kind.")


if __name__ == "__main__":
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="subspace-fuzz-"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cli"))
    main()
