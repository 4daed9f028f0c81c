"""Nothing lost, nothing silently wrong: damaged files, odd folders, other circumstances."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import STEPS, TINY, Cli, assert_same_run, check, damage, edit_record, snapshot
from safetensors import safe_open
from safetensors.numpy import save_file

from subspace.store.folder import RunFolder
from subspace.store.lock import Lock

Copy = Callable[[Path], Path]
COMMAND = [sys.executable, "-m", "subspace_cli"]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of FPD with its coordinates; not to be changed."""
    from cli_helpers import invoke

    path = tmp_path_factory.mktemp("runs") / "fpd"
    given = ("--epochs", 2, "--log-coordinates", "--out", path)
    assert invoke("run", "fpd", *TINY, *given).exit_code == 0
    return path


def test_a_run_that_came_to_no_checkpoint_begins_again(cli: Cli, straight: Path, copy: Copy):
    path = copy(straight)
    shutil.rmtree(path / "checkpoints")
    for name in ("metrics.jsonl", "summary.json"):
        (path / name).unlink()
    check(cli("evaluate", path), "RUN: ", "no checkpoint; resume the run first")
    resumed = cli("run", "--resume", "--out", path)
    assert resumed.exit_code == 0, resumed.output
    assert_same_run(path, straight)


def test_litter_of_the_system_is_no_content(cli: Cli, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.DS_Store").write_text("x")
    assert cli("run", "rbd", *TINY, "--epochs", 1, "--out", "run").exit_code == 0


def test_a_folder_in_use_is_left_alone(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    lock = Lock(path)
    lock.acquire("out")
    before = snapshot(path)
    check(cli("run", "--resume", "--out", path, "--epochs", 4), "--resume: ", f"{os.getpid()} on ")
    assert snapshot(path) == before
    lock.release()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("jax_threefry_partitionable", False, "JAX_THREEFRY_PARTITIONABLE=0"),
        ("jax_enable_x64", True, "JAX_ENABLE_X64=1"),
        ("jax_default_matmul_precision", "bfloat16", "JAX_DEFAULT_MATMUL_PRECISION=bfloat16"),
    ],
)
def test_other_circumstances_are_refused(
    cli: Cli, copy: Copy, straight: Path, name: str, value: object, remedy: str
):
    path = copy(straight)
    edit_record(path / "config.json", lambda config: config["made_with"].update({name: value}))
    check(cli("run", "--resume", "--out", path, "--epochs", 4), "--resume: ", f"set {remedy}")
    check(cli("evaluate", path), "RUN: ", f"set {remedy}")
    check(cli("replay", path), "RUN: ", f"set {remedy}")


def test_another_version_is_a_warning(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    edit_record(path / "config.json", lambda c: c["made_with"]["versions"].update(jax="0.1"))
    resumed = cli("run", "--resume", "--out", path, "--epochs", 4)
    assert resumed.exit_code == 0
    assert resumed.stderr.startswith("Warning: made with jax 0.1, here ")
    assert resumed.stderr.count("\n") == 1


def test_a_checkpoint_under_another_number_is_none(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    shutil.copytree(path / "checkpoints" / str(STEPS), path / "checkpoints/999")
    resumed = cli("run", "--resume", "--out", path)
    assert "Warning: damaged checkpoints passed over: step 999" in resumed.stderr
    assert_same_run(path, straight)


def test_a_damaged_checkpoint_is_never_passed_over_in_silence(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    damage(path / "checkpoints" / str(3 * STEPS))
    whole = ("export", path, "--whole", "--out")
    check(cli(*whole, "a.safetensors"), "RUN: ", f"step {3 * STEPS}", "--step")
    assert cli(*whole, "b.safetensors", "--step", 2 * STEPS).exit_code == 0
    check(cli(*whole, "c.safetensors", "--step", 7), "--step: ", f"there are {STEPS}, ")
    probed = cli("probe", "orthogonality", path, "--directions", 2, "--plot", "p.png")
    assert probed.exit_code == 0
    assert f"Warning: the checkpoint of step {3 * STEPS} is damaged" in probed.stderr
    about = path / "checkpoints" / str(2 * STEPS) / "_CHECKPOINT_METADATA"
    about.write_text("[" * 200_000)
    check(cli("evaluate", path), "RUN: ", str(about.parent), "move it away")


def test_replay_says_what_it_compared(cli: Cli, copy: Copy, logged: Path):
    path = copy(logged)
    assert "Compared with 2 of 2 checkpoints" in cli("replay", path, "--verify").stdout
    log = path / "coordinates-1.log"
    whole = log.read_bytes()
    record = len(whole) // (2 * STEPS)
    for content in (b"", whole[:record], whole[record:] + whole[:record]):
        log.write_bytes(content)
        result = cli("replay", path, "--verify")
        assert result.exit_code == 1
        assert "Compared with 0 of 2 checkpoints" in result.stdout
    log.unlink()
    assert cli("replay", path, "--verify").exit_code == 1


def test_coordinates_that_were_changed_make_no_weights(cli: Cli, logged: Path, tmp_path: Path):
    assert cli("export", logged, "--out", "good.safetensors").exit_code == 0
    applied = cli("apply", "good.safetensors", "--out", "w.safetensors")
    assert "bit for bit those exported" in applied.stdout
    with safe_open(tmp_path / "good.safetensors", "numpy") as opened:
        about = opened.metadata()
        (name,) = (key for key in opened.keys() if key.startswith("coordinates"))  # noqa: SIM118
        coords = opened.get_tensor(name)
    changed = {
        "fewer": {name: coords[:3]},
        "more": {name: np.tile(coords, 2)},
        "nan": {name: coords * np.float32(np.nan)},
        "one": {name: coords + np.eye(20, dtype=np.float32)[0] * np.float32(1e-6)},
        "steps": {name: coords, "steps.1": coords},
        "none": {},
    }
    for kind, arrays in changed.items():
        save_file(arrays, tmp_path / f"{kind}.safetensors", about)
        check(cli("apply", f"{kind}.safetensors", "--out", f"{kind}.out.safetensors"), "FILE: ")
        assert not (tmp_path / f"{kind}.out.safetensors").exists()


def test_a_report_writes_a_report_only(cli: Cli, copy: Copy, straight: Path, tmp_path: Path):
    path = copy(straight)
    (tmp_path / "mine.html").write_text("<p>mine")
    before = snapshot(path)
    for out in (path / "config.json", "x.safetensors", "mine.html", "gone/report.html"):
        check(cli("report", path.parent, "--out", out), "--out: ")
    assert (tmp_path / "mine.html").read_text() == "<p>mine"
    assert snapshot(path) == before
    for _ in range(2):
        assert cli("report", path.parent, "--out", "r.html").exit_code == 0


def test_a_report_leaves_out_what_it_can_not_read(
    cli: Cli, copy: Copy, straight: Path, tmp_path: Path
):
    path = copy(straight)
    odd = tmp_path / "copies" / "$\\frac{$ \x1b[31m"
    shutil.copytree(path, odd)
    os.rename(shutil.copytree(path, tmp_path / "x"), os.fsencode(path.parent) + b"/\xff\xfe")
    other = shutil.copytree(path, path.parent / "other")
    edit_record(other / "config.json", lambda config: config.update(model="nobody's"))
    (path / "summary.json").write_text("{}")
    for name, table in (("a", b""), ("b", os.urandom(200)), ("c", b"x,y\n1\n")):
        (path.parent / name).mkdir()
        (path.parent / name / "table.csv").write_bytes(table)
        (path.parent / name / "table.md").write_text("# t\n")
    result = cli("report", path.parent, "--out", "r.html")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("Warning: left out ") == 5
    assert "2 runs, 0 studies" in result.stdout
    assert "\x1b" not in result.output
    compared = cli("compare", odd, "--plot", "p.png")
    assert compared.exit_code == 0, compared.output
    assert "\\x1b[31m" in compared.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dimension --precision nan", ("--precision", "can't read 'nan'")),
        ("dimension --seeds ٣", ("--seeds", "can't read '٣'")),
        ("dimension --target 1", ("--target: ", "below 1")),
        ("tune rbd --low -5000", ("--low: ", "at least -126", "-5000")),
        ("tune rbd --low 1_0", ("--low", "can't read '1_0'")),
        ("reproduce table1 --seeds 99999999999999", ("--seeds: ", "at most 1000")),
        ("run rbd --lr 1e-320", ("--lr: ", "float32", "1e-320")),
        ("run nes --sigma 1e39", ("--sigma: ", "float32")),
        ("run rbd --workers 1234567890123456789", ("--workers: ", "at most 65536")),
        ("run rbd --data-dir nowhere", ("--data-dir: ", "nowhere")),
        ("run rbd --basis bernoulli_paper --error-feedback", ("--error-feedback: ", "grow")),
        ("launch --processes 0 -- run rbd", ("--processes: ", "at least 1")),
        ("run rbd --distributed --coordinator h --num-processes 2 --process-id 0", ("HOST:PORT",)),
        ("run rbd --timeout x", ("--timeout", "can't read 'x'")),
    ],
)
def test_numbers_out_of_bounds(cli: Cli, tmp_path: Path, line: str, said: tuple[str, ...]):
    check(cli(*line.split()), *said)
    assert snapshot(tmp_path) == {}


def test_output_that_can_not_be_written_saves_a_checkpoint(tmp_path: Path):
    slow = [*COMMAND, "run", "rbd", "--dim", "20", "--batch-size", "8", "--epochs", "9999"]
    for out, sink in (("pipe", "| head -2"), ("full", "> /dev/full")):
        line = f'"$@" --out {out} 2> {out}.err {sink}'
        command = ["bash", "-o", "pipefail", "-c", line, "sh", *slow]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        assert done.returncode == 1
        said = (tmp_path / f"{out}.err").read_text()
        assert said.startswith("Stopped, as standard output can't be written (")
        assert f"subspace run rbd --out {out} --resume" in said
        assert said.count("\n") == 2
        assert RunFolder(tmp_path / out).has_checkpoint()


def test_any_encoding_and_a_closed_output_will_do(tmp_path: Path):
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [*COMMAND, "run", "rbd", *TINY, "--epochs", "1", "--out"]
    done = subprocess.run([*command, "a"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "480.5?" in done.stdout  # ×
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command, "b"]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert RunFolder(tmp_path / "b").summary()["steps"] == STEPS


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path):
    env = os.environ | {"JAX_PLATFORMS": "cuda"}
    command = [*COMMAND, "run", "rbd"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: JAX_PLATFORMS=cuda: ")
    assert "Traceback" not in done.stderr


def test_records_that_are_damaged_are_said_where_a_curve_is_drawn(
    cli: Cli, copy: Copy, straight: Path
):
    path = copy(straight)
    first, second, third = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text(first + second.replace("0", "1") + third)
    compared = cli("compare", path, "--plot", "p.png")
    assert compared.exit_code == 0
    assert compared.stderr.startswith(f"Warning: {path}/metrics.jsonl is damaged, and left out: ")
    assert compared.stderr.endswith("line 2\n")
    (path / "metrics.jsonl").write_text("")
    check(cli("compare", path, "--plot", "q.png"), "RUN: ", "no records")
    assert not Path("q.png").exists()
