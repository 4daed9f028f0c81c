"""Ctrl-C and SIGTERM: a checkpoint, how to resume, 130 and 143; on a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import Cli, assert_same_run

from subspace.store.folder import RunFolder
from subspace_cli.signals import StopSignals  # pyright: ignore[reportMissingImports]

SLOW = [
    "run",
    "rbd",
    "--dim",
    "20",
    "--batch-size",
    "1",
    "--lr",
    "0.1",
    "--checkpoint-every",
    "1000",
]
COMMAND = [sys.executable, "-m", "subspace_cli", *SLOW, "--epochs", "1000"]
ESCAPE = "\x1b"


def finish(cli: Cli, path: Path, straight: Path) -> None:
    """Resumes an interrupted run to the end of its epoch, which has to be as if never stopped."""
    epochs = len(RunFolder(path).records()) + 1
    result = cli("run", "rbd", "--out", path, "--resume", "--epochs", epochs)
    assert result.exit_code == 0, result.output
    assert "continuing after step" in result.stdout
    same = cli(*SLOW, "--epochs", epochs, "--out", straight)
    assert same.exit_code == 0, same.output
    assert_same_run(path, straight)


def test_sigterm_in_a_pipe(cli: Cli, tmp_path: Path):
    path = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "--out", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FORCE_COLOR": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert lines[0].startswith("rbd: fc on digits, D = 9,610, d = 20, lr 0.1, ")
    assert re.match(r"epoch +1/1000  loss \d\.\d{4}  accuracy", lines[1])
    assert ESCAPE not in lines[0] + lines[1] + rest + errors
    assert errors.splitlines() == [
        "Stopped; a checkpoint is saved. Resume with:",
        f"  subspace run rbd --out {path} --resume",
    ]
    assert (path / "curve.png").exists()
    finish(cli, path, tmp_path / "straight")


def test_control_c_on_a_terminal(cli: Cli, tmp_path: Path):
    path = tmp_path / "run"
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--out", path],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(inside)
    shown = _read(terminal, until="epoch    2/1000")
    process.send_signal(signal.SIGINT)
    shown += _read(terminal)
    os.close(terminal)
    assert process.wait(timeout=60) == 130
    assert ESCAPE in shown
    assert "━━━━" in re.sub(r"\x1b\[[0-9;]*m", "", shown)  # parts have colours of their own
    assert "starting" in shown
    assert "validation" in shown
    # A terminal wraps long lines where it likes.
    assert f"subspace run rbd --out {path} --resume" in shown.replace("\r\n", "")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back
    finish(cli, path, tmp_path / "straight")


def _read(terminal: int, until: str | None = None, seconds: float = 60) -> str:
    """What a terminal shows until a text, or until its program ends."""
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # Linux's end of file
            read = b""
        shown += read
        if not read or (until is not None and until.encode() in shown):
            return shown.decode(errors="replace")
    raise TimeoutError(shown.decode(errors="replace"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_asks_and_the_second_ends(number: signal.Signals):
    before = signal.getsignal(number)
    with StopSignals(nothing_to_save=lambda: False) as signals:
        assert not signals.requested()
        os.kill(os.getpid(), number)
        assert signals.requested()
        assert signals.exit_code == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before


def test_a_hang_up_is_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals(nothing_to_save=lambda: False) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.requested()
    signal.signal(signal.SIGHUP, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_python_swallows_is_remembered():
    class Asks:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)  # an exception in here is printed, and that's all

    with StopSignals(nothing_to_save=lambda: True) as signals:
        asks = Asks()
        del asks
        assert signals.requested()
        assert signals.exit_code == 143
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a second one ends at once


def test_first_signal_ends_where_there_is_nothing_to_save(capsys: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGTERM)
    signals = StopSignals(nothing_to_save=lambda: True)
    with pytest.raises(SystemExit) as caught, signals:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert "nothing was written" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_disk_that_is_full_is_one_line(tmp_path: Path):
    command = [sys.executable, "-m", "subspace_cli", "run", "rbd", "--epochs", "3"]
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]  # no file above some kB
    # Without the tests' compilation cache, or JAX would say that it can't be written either.
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    result = subprocess.run(
        [*limited, *command, "--out", "run"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Error: " in result.stderr
    assert "a checkpoint can't be written: " in result.stderr


def test_arrays_that_find_the_disk_full_late_print_nothing(tmp_path: Path):
    script = (
        "import numpy, pathlib, subspace.store.checkpoint as checkpoint\n"
        "checkpoints = checkpoint.Checkpoints(pathlib.Path('saved'))\n"
        "try:\n"
        "    checkpoints.save(1, {str(i): numpy.random.rand(20_000) for i in range(60)}, {})\n"
        "    checkpoints.wait()\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    command = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "a checkpoint can't be written: " in result.stdout, result.stderr
    assert result.stderr == ""
