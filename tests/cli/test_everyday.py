"""Options for every day: how a run ends, what it keeps, where it runs, what it would be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import STEPS, TINY, Cli, assert_same_run, check

from subspace.store import weights_file
from subspace.store.folder import RunFolder

OVERFITS = ("run", "sgd", "--lr", 0.5, "--batch-size", 64, "--label-noise", 0.6, "--momentum", 0.9)


def test_a_run_ends_early_once_it_is_no_longer_better(cli: Cli):
    result = cli(*OVERFITS, "--epochs", 30, "--early-stop", 2, "--keep-best", "--out", "a")
    assert result.exit_code == 0, result.output
    folder = RunFolder(Path("a"))
    losses = [record["validation_loss"] for record in folder.records()]
    assert len(losses) < 30
    assert folder.records()[-1]["ended"] == "early"
    assert "has not become better" in result.stdout
    best = int(np.argmin(losses))
    assert best == len(losses) - 3
    assert [i for i, record in enumerate(folder.records()) if record.get("best")][-1] == best

    kept = weights_file.read(folder.best_file, "run").arrays
    assert kept
    result = cli(
        *("evaluate", "--init-from", folder.best_file, "--model", "fc", "--split", "validation"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["loss"] == pytest.approx(losses[best], rel=1e-5)


def test_it_ends_there_too_if_it_was_stopped_before(cli: Cli):
    given = (*OVERFITS, "--early-stop", 2, "--keep-best")
    then = ("--then", "sgd:epochs=1")
    assert cli(*given, "--epochs", 30, *then, "--out", "straight").exit_code == 0
    assert cli(*given, "--epochs", 2, "--out", "short").exit_code == 0
    assert cli("run", "--out", "short", "--resume", "--epochs", 30).exit_code == 0
    one, other = (RunFolder(Path(name)).records() for name in ("straight", "short"))
    first = [record["validation_loss"] for record in one if record["phase"] == 1]
    assert [record["validation_loss"] for record in other] == first
    assert one[-1]["phase"] == 2
    again = cli("run", "--out", "short", "--resume")
    assert again.exit_code == 0, again.output
    assert len(RunFolder(Path("short")).records()) == len(other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run dldr --early-stop 2", "samples"),
        ("run sgd --early-stop 2 --average ema", "average"),
        ("run rbd --early-stop 2 --log-coordinates", "coordinates"),
        ("run rbd --early-stop 2 --validation 0", "validation"),
        ("run rbd --keep-best --validation 0", "validation"),
        ("run rbd --early-stop 0", "early-stop"),
        ("run rbd --keep 0", "keep"),
        ("run rbd --device cpu:1", "there is one"),
        ("run rbd --device gpu", "jax[cuda13]"),
        ("run rbd --device gpu:x", "gpu:0"),
        ("run rbd --device cpuu", "did you mean 'cpu'"),
    ],
)
def test_what_does_not_go_together_is_one_line(cli: Cli, words: str, said: str):
    check(cli(*words.split()), said)


@pytest.mark.parametrize("keep", [1, 5])
def test_as_many_checkpoints_stay_as_are_asked_for(cli: Cli, keep: int):
    assert cli("run", "rbd", *TINY, "--epochs", 4, "--keep", keep, "--out", "a").exit_code == 0
    found = {int(path.name) for path in Path("a/checkpoints").iterdir() if path.name.isdigit()}
    assert found == {STEPS * epoch for epoch in (1, 2, 3, 4)[-keep:]}


def test_a_dry_run_says_what_it_would_be_and_writes_nothing(cli: Cli):
    then = ("--then", "psgd:dim=2,epochs=1")
    result = cli("run", "dldr", "--epochs", 3, *then, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    first, second = found["phases"]
    assert (found["parameters"], first["dimensions"]) == (9610, 9610)
    assert first["steps"] == 3 * (1293 // 128)
    assert first["bytes"] > 4 * 9610
    assert first["seconds"] > 0
    assert (second["dimensions"], second["seconds"], found["seconds"]) == (2, None, None)
    shown = cli("run", "rbd", "--dry-run")
    assert "Nothing was written" in shown.stdout
    assert list(Path().iterdir()) == []


def test_quiet_says_nothing_and_verbose_all_options(cli: Cli):
    quiet = cli("run", "rbd", *TINY, "--epochs", 1, "--out", "a", "-q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    verbose = cli("run", "rbd", *TINY, "--epochs", 1, "--out", "b", "-v")
    assert "  dim = 20\n" in verbose.stdout
    assert "  seed = 0\n" in verbose.stdout
    assert_same_run(Path("a"), Path("b"))


def test_cpu_is_there(cli: Cli):
    assert cli("run", "rbd", *TINY, "--epochs", 1, "--device", "cpu", "-q").exit_code == 0
