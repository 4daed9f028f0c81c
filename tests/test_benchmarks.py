"""The benchmark that is meant for other people's devices runs, and says on which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax

from subspace.basis import BASES

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NETWORK = ["sgd", "gradient", "pbfgs, d = 15", "nes, 8 offspring", "error feedback", "strong"]
NETWORK += [f"rbd, {basis}" for basis in BASES]
UPDATE = ["optax.sgd", "error feedback", "strong", "rbd, hadamard", "rbd, coordinate"]
TABLES = {
    "Training steps: fc": NETWORK,
    "A generation: fc": ["8 forward passes", "nes, 8 offspring"],
    "Update and apply: a single vector": UPDATE,
    "Update and apply: 3 equal leaves": UPDATE,
    "Training steps: cnn": NETWORK,
}


def tables(text: str) -> dict[str, dict[str, list[str]]]:
    """The cells of each line by its first one, by the table's title."""
    found = {}
    for part in text.split("\n## ")[1:]:
        title, _, *lines = part.splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
        found[title] = {first: rest for first, *rest in cells[2:]}
        assert all(len(line) == len(cells[0]) for line in cells)
    return found


def test_steps_on_any_device_quickly(tmp_path):
    out = tmp_path / "steps.md"
    command = [sys.executable, BENCHMARKS / "accelerator.py", "--quick", "--out", out]
    env = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text == done.stdout
    assert text.startswith(f"# Steps on {jax.devices()[0].device_kind}")
    found = tables(text)
    for start, cases in TABLES.items():
        (lines,) = (lines for title, lines in found.items() if title.startswith(start))
        assert set(cases) <= set(lines)
    assert "failed" not in text
    for lines in found.values():
        assert all(cells[0] or cells[-1] for cells in lines.values())  # milliseconds, or why not
    fc = next(iter(found.values()))
    assert float(fc["sgd"][1]) == 1
    assert float(fc["gradient"][1]) > 0
