"""The benchmark that is meant for other people's devices runs, and says on which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_steps_on_any_device_quickly(tmp_path):
    out = tmp_path / "steps.md"
    command = [sys.executable, BENCHMARKS / "accelerator.py", "--quick", "--out", out]
    env = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.startswith("# Steps on cpu")
    for row in ("strong", "nes, 250 offspring", "the gradient alone", "temporary / 4 D"):
        assert row in text
    assert "a generation, countsketch" in text
    assert "no time left" not in text
