"""Tasks beyond images on the command line: every command takes their metrics by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Cli, check, invoke

from subspace.store.folder import RunFolder

TEXT = ("--task", "language", "--context", 16, "--batch-size", 16)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "verse.txt"
    file.write_text("so long as men can breathe, or eyes can see; " * 60)
    return file


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("numbers") / "plane.npz"
    x = np.random.default_rng(0).normal(size=(400, 3))
    np.savez(file, x=x, y=x @ [[1.0], [-2.0], [0.5]])
    return file


@pytest.fixture(scope="module")
def spoken(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on text."""
    path = tmp_path_factory.mktemp("runs") / "text"
    given = ("--dataset", f"file:{text}", "--epochs", 2, "--lr", 0.5, "--error-feedback")
    result = invoke("run", "rbd", *TEXT, *given, "--out", path)
    assert result.exit_code == 0, result.output
    assert "bits per byte" in result.stdout
    return path


def test_text_is_learnt(spoken: Path):
    records = RunFolder(spoken).records()
    assert records[-1]["validation_bits_per_byte"] < records[0]["train_bits_per_byte"] < 8.5
    summary = RunFolder(spoken).summary()
    assert summary["metrics"][0] == ["bits_per_byte", "", False]
    assert summary["best_validation_bits_per_byte"] == min(
        record["validation_bits_per_byte"] for record in records
    )
    assert summary["test_bits_per_byte"] == pytest.approx(summary["test_loss"] / np.log(2))
    assert (spoken / "curve.png").exists()


def test_commands_take_its_metrics(cli: Cli, spoken: Path, straight: Path):
    shown = cli("evaluate", spoken).stdout
    assert "bits_per_byte" in shown
    both = cli("compare", spoken, straight, "--json")
    assert "bits_per_byte" in both.stderr
    assert "accuracy" in both.stderr
    assert len(json.loads(both.stdout)) == 2
    result = cli("report", spoken.parent)
    assert result.exit_code == 0, result.output
    assert "bits per byte" in (spoken.parent / "report.html").read_text()


def test_a_run_on_text_resumes_and_says_its_command(cli: Cli, spoken: Path, text: Path):
    from subspace_cli.command import run_command  # pyright: ignore[reportMissingImports]

    command = run_command(RunFolder(spoken).read_config())
    assert "--task language" in command
    assert f"--dataset file:{text}" in command
    assert "--model" not in command
    result = cli("run", "rbd", "--out", spoken, "--resume", "--epochs", 3)
    assert result.exit_code == 0, result.output


def test_a_regression_is_tuned_and_measured_by_low_errors(cli: Cli, numbers: Path, tmp_path: Path):
    task = ("--task", "regression", "--dataset", f"npz:{numbers}")
    tuned = cli("tune", "sgd", *task, "--low", -6, "--high", -5, "--epochs", 2)
    assert tuned.exit_code == 0, tuned.output
    assert "absolute error" in tuned.stdout
    few = ("--epochs", 4, "--seeds", 1, "--low", 20, "--precision", 9, "--max-runs", 4)
    found = cli("dimension", "rbd", "--error-feedback", *task, *few, "--target", 0.2, "--json")
    assert found.exit_code == 0, found.output
    answer = json.loads((Path(json.loads(found.stdout)["out"]) / "answer.json").read_text())
    assert answer["metric"] == "absolute_error"
    assert answer["smallest"] is not None


def test_bad_input(cli: Cli, text: Path, tmp_path: Path):
    check(cli("run", "rbd", "--task", "language"), "--dataset: ", "file:PATH")
    check(cli("run", "rbd", *TEXT, "--dataset", "file:nowhere"), "there is no file")
    check(cli("run", "rbd", "--dataset", f"npz:{text}"), "damaged, or no .npz")
    check(
        cli(
            "run", "rbd", *TEXT, "--dataset", f"file:{text}", "--model", "fc", "--label-noise", 0.1
        ),
        "--label-noise: ",
        "no classes",
    )
    assert not (tmp_path / "runs").exists()
