"""``subspace launch``: several processes train as one, and end together."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from cli_helpers import STEPS, TINY, Cli, check, edit_record, final_arrays

from subspace.store.folder import RunFolder

LAUNCH = [sys.executable, "-P", "-m", "subspace_cli", "launch", "--devices-per-process", "1", "--"]
ENDLESS = ["run", "rbd", "--dim", "20", "--batch-size", "2", "--lr", "0.1", "--epochs", "9999"]


def start(*args: object) -> subprocess.Popen[str]:
    words = [*LAUNCH, *map(str, args)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    """Reads on until the main process has finished an epoch."""
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(rf"\[0\] epoch +{epoch}/", line):
            return
    raise AssertionError(process.communicate())


def child(process: subprocess.Popen[str], index: int) -> int:
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True
    )
    for line in listed.stdout.splitlines():
        pid, parent, words = line.split(maxsplit=2)
        if int(parent) == process.pid and words.endswith(f"--process-id {index}"):
            return int(pid)
    raise AssertionError(listed.stdout)


def params(path: Path) -> dict[str, np.ndarray]:
    arrays = final_arrays(path)
    return {name: array for name, array in arrays.items() if name.startswith("params.")}


def close(path: Path, other: Path) -> None:
    ours, theirs = params(path), params(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], atol=1e-4, err_msg=name)


def test_two_processes_train_as_one_and_one_goes_on_from_what_they_saved(cli: Cli):
    given = ("run", "rbd", *TINY, "--error-feedback")
    process = start(*given, "--epochs", 1, "--out", "run")
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    said = [line for line in output.splitlines() if "Gloo" not in line]
    assert all(line.startswith("[0] ") for line in said), output  # the main process alone speaks
    assert len(RunFolder(Path("run")).records()) == 1
    missed = [a for name, a in final_arrays(Path("run")).items() if ".residual." in name]
    assert missed
    for array in missed:  # each process wrote its own
        assert len(array) == 2
        assert np.abs(array[0] - array[1]).max() > 0
    assert cli(*given, "--epochs", 1, "--out", "alone").exit_code == 0
    close(Path("run"), Path("alone"))
    for path in ("run", "alone"):
        result = cli("run", "--out", path, "--resume", "--epochs", 2)
        assert result.exit_code == 0, result.output
    close(Path("run"), Path("alone"))


def test_sigterm_to_any_of_them_saves_a_checkpoint_of_all(cli: Cli):
    process = start(*ENDLESS, "--checkpoint-every", 9999, "--out", "run")
    until_epoch(process, 1)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 143, output + errors
    assert "subspace run rbd --out run --resume" in output
    checkpoints = list(Path("run/checkpoints").iterdir())
    assert len(checkpoints) == 1  # no epoch's end, so it is that of the signal
    result = cli("evaluate", "run", "--json")
    assert json.loads(result.stdout)["step"] == int(checkpoints[0].name)


def test_one_that_is_killed_ends_all_and_its_run_goes_on(cli: Cli):
    process = start("run", "rbd", *TINY, "--epochs", 9999, "--out", "run")
    until_epoch(process, 3)  # the checkpoints of those before are being written, or are
    subprocess.run(["kill", "-9", str(child(process, 1))], check=True)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 137
    assert "Error: process 1 was killed by signal 9; all end" in errors
    epochs = len(RunFolder(Path("run")).records()) + 1
    straight = cli("run", "rbd", *TINY, "--epochs", epochs, "--out", "straight")
    assert straight.exit_code == 0
    edit_record(Path("run/config.json"), lambda config: config["phases"][0].update(epochs=epochs))
    result = cli("run", "--out", "run", "--resume")
    assert result.exit_code == 0, result.output
    close(Path("run"), Path("straight"))
    assert RunFolder(Path("run")).summary()["steps"] == epochs * STEPS


def test_bad_input_is_told_once(cli: Cli):
    check(cli("launch", "--", "evaluate", "run"), "COMMAND: launch runs `run`, not 'evaluate'")
    check(cli("launch", "--processes", 0, "--", "run", "rbd"), "--processes")
    check(cli("launch"), "Missing argument")
    process = start("run", "nosuch", "--out", "run")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert (output + errors).count("unknown method 'nosuch'") == 1
    assert not Path("run").exists()


def test_processes_end_with_their_launcher_and_run_no_code_of_the_folder(cli: Cli, tmp_path: Path):
    for name in ("subspace_cli", "jax", "numpy"):
        (tmp_path / f"{name}.py").write_text('print("not ours")')
    process = start(*ENDLESS, "--out", "run")
    until_epoch(process, 1)
    workers = [child(process, index) for index in (0, 1)]
    process.kill()
    out, errors = process.communicate(timeout=60)
    assert "not ours" not in out + errors
    assert "[Gloo]" not in out + errors
    until = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until, "they are still there"
        time.sleep(0.1)
    assert RunFolder(Path("run")).has_checkpoint()


def test_a_reader_that_is_gone_ends_all(cli: Cli, tmp_path: Path):
    line = '"$@" 2> err | head -1'
    command = ["bash", "-o", "pipefail", "-c", line, "sh", *LAUNCH, *ENDLESS, "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in Path("err").read_text()
    assert RunFolder(Path("run")).has_checkpoint()
