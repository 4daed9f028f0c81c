"""``subspace reproduce``: the papers' tables and figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import PNG, Cli, check

from subspace.store.folder import RunFolder
from subspace.study.measured import MEASURED
from subspace.study.targets import TARGETS


def test_a_table_of_runs(cli: Cli, tmp_path: Path):
    words = ["reproduce", "table1", "--budget", "quick", "--epochs", 1, "--seeds", 1]
    words += ["--out", "t", "--json"]
    result = cli(*words)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["variant"] for row in rows] == ["fpd", "rbd", "sgd", "nes"]
    assert "nothing to compare with" in (tmp_path / "t/table.md").read_text()
    assert (tmp_path / "t/table.csv").read_text().count("\n") == 5
    assert (tmp_path / "t/figure.png").read_bytes().startswith(PNG)
    again = cli(*words)
    assert "4 of them finished before" in again.stderr
    assert json.loads(again.stdout)["rows"] == rows


@pytest.mark.parametrize("name", sorted((TARGETS | MEASURED).keys() - {"table1"}))
def test_every_other_target(cli: Cli, tmp_path: Path, name: str):
    result = cli("reproduce", name, "--budget", "quick", "--epochs", 2, "--seeds", 1, "--out", "f")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "f/figure.png").read_bytes().startswith(PNG)
    table = (tmp_path / "f/table.md").read_text()
    assert table.count("\n|") >= 4
    assert "diverged" not in table


def test_without_a_target_they_are_listed(cli: Cli):
    result = cli("reproduce")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in TARGETS | MEASURED)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tabel1"], "did you mean 'table1'"),
        (["table1", "--budget", "huge"], "choose from: quick, full"),
        (["table1", "--models", "vgg"], "--models"),
        (["table1", "--datasets", ","], "at least one"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, words, expected):
    result = cli("reproduce", *words)
    check(result, expected)


def test_diagnostics_are_kept_and_cut_on_resuming(cli: Cli, tmp_path: Path):
    words = ["run", "rbd", "--dim", 20, "--batch-size", 256, "--diagnose", 2, "--out", "run"]
    assert cli(*words, "--epochs", 2, "--label-noise", 0.2).exit_code == 0
    folder = RunFolder(tmp_path / "run")
    before = folder.diagnostics()
    assert [record["step"] for record in before] == list(range(0, 10, 2))
    assert all(record["cosine"] > 0 for record in before)
    assert folder.summary()["diagnostics"]["analytic"] == pytest.approx(0.0456, rel=0.01)
    folder.append_diagnostics({"step": 10, "cosine": 0.0})  # by a process that was then killed
    result = cli("run", "rbd", "--out", "run", "--resume", "--epochs", 3)
    assert result.exit_code == 0, result.output
    after = folder.diagnostics()
    assert after[:5] == before
    assert [record["step"] for record in after] == list(range(0, 15, 2))
    assert after[5]["cosine"] > 0
