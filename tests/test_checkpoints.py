"""What checkpoints do to the process while they are open, and that it ends with them."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from subspace.store.checkpoint import Checkpoints


def silenced():
    """What the process has that others see: the level of Orbax's log, and the hook."""
    return logging.getLogger("absl").level, sys.unraisablehook


def test_log_and_hook_are_as_before_once_all_are_closed(tmp_path: Path):
    """Whichever is closed first."""
    before = silenced()
    first, second = Checkpoints(tmp_path / "a"), Checkpoints(tmp_path / "b")
    during = silenced()
    assert during[0] == logging.CRITICAL
    assert during[1] is not before[1]
    first.save(1, {"x": np.arange(3)}, {})
    first.close()
    assert silenced() == during
    second.close()
    assert silenced() == before
    second.close()
    assert silenced() == before


def test_log_and_hook_are_as_before_when_they_cannot_be_opened(tmp_path: Path):
    before = silenced()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Checkpoints(tmp_path / "file" / "checkpoints")
    assert silenced() == before


def test_a_hook_that_came_later_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = Checkpoints(tmp_path / "a")
    monkeypatch.setattr(sys, "unraisablehook", print)
    checkpoints.close()
    assert sys.unraisablehook is print


def test_after_a_disk_that_was_full_only_threads_that_are_late_stay_silent(tmp_path: Path):
    script = (
        "import logging, numpy, pathlib, sys, time, types\n"
        "from subspace.store.checkpoint import Checkpoints\n"
        "sys.unraisablehook, level = print, logging.getLogger('absl').level\n"
        "checkpoints = Checkpoints(pathlib.Path('saved'))\n"
        "try:\n"
        "    checkpoints.save(1, {str(i): numpy.random.rand(20_000) for i in range(60)}, {})\n"
        "    checkpoints.wait()\n"
        "except OSError as error:\n"
        "    print(error)\n"
        "checkpoints.close()\n"
        "assert logging.getLogger('absl').level == level\n"
        "time.sleep(0.2)\n"
        "sys.unraisablehook(types.SimpleNamespace(exc_value=ValueError(), object='mine'))\n"
    )
    command = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first.startswith("[Errno")
    assert "a checkpoint can't be written: " in first
    assert "object='mine'" in second
