"""Going on with a run: bit for bit, or one clear line and an untouched run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import STEPS, TINY, Cli, assert_same_run, check, damage, edit_record, snapshot

from subspace.store.folder import RunFolder

Copy = Callable[[Path], Path]


def test_three_epochs_are_one_and_two_more(cli: Cli, straight: Path):
    assert cli("run", "rbd", *TINY, "--epochs", 1, "--out", "run").exit_code == 0
    result = cli("run", "rbd", "--out", "run", "--resume", "--epochs", 3)
    assert result.exit_code == 0, result.output
    assert f"continuing after step {STEPS} of {3 * STEPS}" in result.stdout
    assert_same_run(Path("run"), straight)
    ours, theirs = RunFolder(Path("run")).summary(), RunFolder(straight).summary()
    clock = {"seconds": 0, "examples_per_second": 0}
    for summary in (ours, theirs):
        summary |= clock | {"phases": [phase | clock for phase in summary["phases"]]}
    assert ours == theirs
    assert RunFolder(Path("run")).read_config() == RunFolder(straight).read_config()


def test_what_the_subspaces_missed_is_not_forgotten(cli: Cli):
    given = ("run", "rbd", *TINY, "--error-feedback", "--epochs")
    assert cli(*given, 2, "--out", "straight").exit_code == 0
    assert cli(*given, 1, "--out", "run").exit_code == 0
    assert cli("run", "--out", "run", "--resume", "--epochs", 2).exit_code == 0
    assert_same_run(Path("run"), Path("straight"))


def test_workers_go_on_with_steps_of_their_own(cli: Cli):
    """With what each has missed, its momentum, its examples and who takes part."""
    rounds = ("--local-steps", 3, "--workers", 8, "--participation", 0.5, "--skew", 0.5)
    told = ("--error-feedback", "--sent-as", "int8", "--momentum", 0.5, "--outer-momentum", 0.5)
    given = ("run", "rbd", *TINY, *rounds, *told, "--epochs")
    assert cli(*given, 2, "--out", "straight").exit_code == 0
    assert cli(*given, 1, "--out", "run").exit_code == 0
    assert cli("run", "--out", "run", "--resume", "--epochs", 2).exit_code == 0
    assert_same_run(Path("run"), Path("straight"))


def test_newest_checkpoint_is_damaged(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    damage(path / "checkpoints" / str(3 * STEPS))
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    evaluated = cli("evaluate", path, "--json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(evaluated.stdout)["step"] == 2 * STEPS
    assert f"step {3 * STEPS} is damaged" in evaluated.stderr

    result = cli("run", "--out", path, "--resume")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"Warning: damaged checkpoints passed over: step {3 * STEPS}\n"
    assert f"continuing after step {2 * STEPS} of" in result.stdout
    assert_same_run(path, straight)


def test_all_checkpoints_are_damaged(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    damage(path / "checkpoints")
    before = snapshot(path)
    check(cli("run", "--out", path, "--resume", "--epochs", 4), "--resume: ", "damaged")
    check(cli("evaluate", path), "RUN: ", "damaged")
    assert snapshot(path) == before


def test_finished_run_stays_what_it_is(cli: Cli, copy: Copy, straight: Path):
    path = copy(straight)
    repeated = ("--dim", 20, "--lr", 0.5, "--no-augment", "--epochs", 3)
    result = cli("run", "rbd", *repeated, "--out", path, "--resume", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test_loss"] == RunFolder(straight).summary()["test_loss"]
    assert_same_run(path, straight)


CHANGES = {
    "METHOD": ("run", "sgd"),
    "--seed": ("run", "rbd", "--seed", 1),
    "--lr": ("run", "--lr", 0.25),
    "--dim": ("run", "rbd", "--dim", 21),
    "--basis": ("run", "rbd", "--basis", "normal"),
    "--model": ("run", "rbd", "--model", "cnn"),
    "--dataset": ("run", "rbd", "--dataset", "mnist"),
    "--batch-size": ("run", "rbd", "--batch-size", 32),
    "--augment": ("run", "rbd", "--augment"),
    "--epochs": ("run", "rbd", "--epochs", 2),
}


@pytest.mark.parametrize("flag", CHANGES)
def test_what_can_not_change(cli: Cli, straight: Path, flag: str):
    before = snapshot(straight)
    check(cli(*CHANGES[flag], "--out", straight, "--resume"), f"{flag}: ", "run")
    assert snapshot(straight) == before


def _no_config(path: Path) -> None:
    (path / "config.json").unlink()


def _cut_config(path: Path) -> None:
    (path / "config.json").write_text('{"method": "rb')


def _list_config(path: Path) -> None:
    (path / "config.json").write_text("[]")


def _odd_config(path: Path) -> None:
    edit_record(path / "config.json", lambda config: config.update(seed="three"))


def _edited_config(path: Path) -> None:
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(text.replace('"seed": 0', '"seed": 1'))


def _deep_config(path: Path) -> None:
    (path / "config.json").write_text("[" * 200_000)


def _pipe_for_config(path: Path) -> None:
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


def _other_config(path: Path) -> None:
    edit_record(path / "config.json", lambda config: config["phases"][0].pop("basis"))


def _binary_config(path: Path) -> None:
    (path / "config.json").write_bytes(b"\xff\x00\xfe")


@pytest.mark.parametrize(
    "spoil",
    [
        _no_config,
        _cut_config,
        _list_config,
        _odd_config,
        _other_config,
        _binary_config,
        _edited_config,
        _deep_config,
        _pipe_for_config,
    ],
)
def test_damaged_run(cli: Cli, copy: Copy, straight: Path, spoil: Callable[[Path], None]):
    path = copy(straight)
    spoil(path)
    before = snapshot(path)
    check(cli("run", "rbd", "--out", path, "--resume"), "--resume: ", str(path))
    check(cli("evaluate", path), "RUN: ", str(path))
    assert snapshot(path) == before


def test_empty_run(cli: Cli, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    check(cli("run", "rbd", "--out", "empty", "--resume"), "--resume: ", "config.json")
    assert snapshot(tmp_path) == {"empty": None}
