"""What the tests of the command line share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from subspace import files
from subspace.store.checkpoint import Checkpoints
from subspace.store.folder import RunFolder
from subspace_cli.main import app  # pyright: ignore[reportMissingImports]

TINY = ("--dim", "20", "--batch-size", "64", "--lr", "0.5")
PNG = b"\x89PNG\r\n\x1a\n"
STEPS = 20  # an epoch of TINY: 1,293 training images in batches of 64

Cli = Callable[..., Result]


def invoke(*args: object) -> Result:
    """Runs the console script's application."""
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="subspace")


def check(result: Result, *said: str) -> None:
    """One line on stderr, with all that it has to say, and the exit code of bad input."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    for words in said:
        assert words in result.stderr


def snapshot(path: Path) -> dict[str, bytes | None]:
    """Everything in a folder: the contents of files, None for folders."""
    return {
        str(entry.relative_to(path)): entry.read_bytes() if entry.is_file() else None
        for entry in sorted(path.rglob("*"))
    }


def final_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's newest checkpoint, which has to be whole."""
    return _newest(path)[0]


def final_state(path: Path) -> tuple[int, list[np.ndarray]]:
    """Step and arrays of a run's newest checkpoint, which has to be whole."""
    arrays, step = _newest(path)
    return step, [arrays[name] for name in sorted(arrays)]


def _newest(path: Path) -> tuple[dict[str, np.ndarray], int]:
    checkpoints = Checkpoints(RunFolder(path).checkpoints)
    arrays, meta, damaged = checkpoints.newest()
    checkpoints.close()
    assert not damaged
    return arrays, meta["step"]


def assert_same_run(left: Path, right: Path) -> None:
    """Equal final checkpoints bit for bit, and equal records apart from times."""
    (left_step, left_arrays), (right_step, right_arrays) = final_state(left), final_state(right)
    assert left_step == right_step
    assert len(left_arrays) == len(right_arrays) > 4
    for a, b in zip(left_arrays, right_arrays, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert timeless(left) == timeless(right)


def timeless(path: Path) -> list[dict[str, Any]]:
    """The epochs' records without what depends on the clock."""
    clock = ("seconds", "examples_per_second")
    return [
        {name: value for name, value in record.items() if name not in clock}
        for record in RunFolder(path).records()
    ]


def edit_record(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes a record as if it had been written so."""
    record = files.read_record(path, "run")
    change(record)
    files.write_record(path, record)


def damage(checkpoint: Path) -> None:
    """Cuts every file of a checkpoint in half."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
