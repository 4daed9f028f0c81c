"""``subspace tune``, ``dimension``, ``probe`` and ``report``, and rates found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import PNG, Cli, check, snapshot

from subspace.config.run import RunConfig
from subspace.files import write_record
from subspace.store import tuned
from subspace.store.folder import RunFolder

pytestmark = pytest.mark.xdist_group("studies")  # its runs are made once

TUNE = ["tune", "sgd", "--batch-size", 256, "--low", -3, "--high", 0, "--epochs", 3]


@pytest.fixture(scope="session")
def tuned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which SGD's learning rate was tuned; not to be changed."""
    path = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        from cli_helpers import invoke

        patch.chdir(path)
        result = invoke(*TUNE, "--out", "tune", "--json")
    assert result.exit_code == 0, result.output
    (path / "said.json").write_text(result.stdout)
    return path


def here(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)


def test_tuning_keeps_the_rate_of_the_lowest_loss(tuned_folder: Path):
    said = json.loads((tuned_folder / "said.json").read_text())
    rows = said["rows"]
    assert [row["epochs"] for row in rows] == ["3"] * 2 + ["1"] * 4
    losses = [float(row["held-out loss"]) for row in rows[:2]]
    assert losses == sorted(losses)
    assert said["learning_rate"] == float(rows[0]["lr"])
    best = RunFolder(tuned_folder / f"tune/runs/e3-lr=2_{_exponent(said['learning_rate'])}")
    config = best.read_config()
    assert config.validation == 0.25
    assert best.summary()["validation_loss"] == pytest.approx(losses[0], abs=1e-4)
    assert (tuned_folder / "tune/figure.png").read_bytes().startswith(PNG)


def _exponent(rate: float) -> int:
    return next(k for k in range(-19, 8) if 2.0**k == rate)


def test_a_tuned_rate_is_taken_by_such_a_run(cli: Cli, tuned_folder: Path, tmp_path: Path):
    here(tuned_folder, tmp_path)
    rate = json.loads((tmp_path / "said.json").read_text())["learning_rate"]
    words = ["run", "sgd", "--batch-size", 256, "--epochs", 1]
    result = cli(*words, "--out", "a")
    assert f"lr {rate:g}, tuned before" in result.stdout
    assert RunFolder(tmp_path / "a").summary()["learning_rate"] == rate
    cli(*words, "--out", "b", "--lr", 0.3)
    assert RunFolder(tmp_path / "b").summary()["learning_rate"] == 0.3
    result = cli("run", "sgd", "--epochs", 1, "--out", "c")  # another batch size
    assert "tuned" not in result.stdout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "0.0.1"}, "is of version 0.0.1"),
        ({"settings": {"model": "cnn"}}, "was tuned on cnn, not on fc"),
        (None, "is damaged"),
    ],
)
def test_a_rate_of_another_model_or_version_is_ignored(
    cli: Cli, tuned_folder: Path, tmp_path: Path, change, expected
):
    here(tuned_folder, tmp_path)
    file = tmp_path / tuned.FILE
    entry = json.loads(file.read_text())["entries"][0]
    if change is None:
        file.write_text("{")
    else:
        entry["settings"] |= change.pop("settings", {})
        write_record(file, {"entries": [entry | change]})
    result = cli("run", "sgd", "--batch-size", 256, "--epochs", 1, "--out", "a")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: ")
    assert expected in result.stderr
    assert RunFolder(tmp_path / "a").summary()["learning_rate"] == 0.125


def test_a_study_takes_tuned_rates_and_warns_of_others(cli: Cli, tmp_path: Path):
    def entry(method: str, rate: float, **other: object) -> dict[str, object]:
        given = {"method": method, "model": "fc", "dataset": "digits"}
        settings = tuned.settings(RunConfig.resolve(given))
        return {"settings": settings, "version": tuned._version(), "learning_rate": rate} | other

    (tmp_path / "runs").mkdir()
    entries = [entry("sgd", 0.25), entry("rbd", 9.0, version="0.0.1")]
    write_record(tmp_path / tuned.FILE, {"entries": entries})
    result = cli("reproduce", "hybrid", "--budget", "quick", "--epochs", 1, "--seeds", 1, "--json")
    assert result.exit_code == 0, result.output
    rates = {row["variant"]: float(row["lr"]) for row in json.loads(result.stdout)["rows"]}
    assert rates == {"rbd": 4.0, "sgd": 0.25}
    assert result.stderr.count("Warning: ") == 1
    assert "is of version 0.0.1, and this is" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tune"], "say which"),
        (["tune", "sdg"], "did you mean 'sgd'"),
        (["tune", "sgd", "--low", 3, "--high", 1], "--low"),
        (["tune", "sgd", "--strategy", "random"], "choose from: halving, grid"),
        (["tune", "sgd", "--validation", 0], "--validation"),
        (["tune", "pbfgs"], "trajectory"),
        (["tune", "sgd", "--lr", 1], "No such option: --lr"),
        (["dimension", "sgd"], "--dim"),
        (["dimension", "--target", 2], "--target"),
        (["dimension", "--precision", 1], "--precision"),
        (["dimension", "--seeds", 0], "--seeds"),
        (["dimension", "psgd"], "trajectory"),
        (["probe", "landscap", "x"], "did you mean 'landscape'"),
        (["probe", "landscape", "x"], "no run"),
        (["probe", "correlation", "x", "--dims", "a"], "whole numbers"),
        (["report", "nowhere"], "no folder"),
        (["report", "."], "no runs and no studies"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(cli: Cli, tmp_path: Path, words, expected):
    check(cli(*words), expected)
    assert snapshot(tmp_path) == {}


def test_a_damaged_file_of_rates_is_not_replaced(cli: Cli, tuned_folder: Path, tmp_path: Path):
    here(tuned_folder, tmp_path)
    (tmp_path / tuned.FILE).write_text("{")
    check(cli(*TUNE, "--out", "tune"), "is damaged; delete it")
    assert (tmp_path / tuned.FILE).read_text() == "{"


def test_the_dimension_of_digits(cli: Cli, tmp_path: Path):
    words = ["dimension", "--epochs", 1, "--batch-size", 128, "--seeds", 2, "--lr", 8]
    words += ["--target", 0.5, "--low", 100, "--max-runs", 3, "--out", "d", "--json"]
    result = cli(*words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    low, high = said["interval"]
    assert low <= said["estimate"] <= high
    assert said["smallest"] in [int(row["d"]) for row in said["rows"][1:]]
    assert (tmp_path / "d/figure.png").read_bytes().startswith(PNG)
    again = cli(*words)
    assert json.loads(again.stdout) == said
    assert "fpd-d" not in again.stderr  # no run was made again


@pytest.mark.parametrize("what", ["landscape", "correlation", "orthogonality"])
def test_a_saved_run_is_probed(cli: Cli, straight: Path, tmp_path: Path, what: str):
    words = ["--directions", 2, "--examples", 50, "--bases", "normal", "--dims", "5"]
    result = cli("probe", what, straight, *words, "--plot", "p.png", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == 1
    assert rows[0]["directions" if what == "landscape" else "basis"] == "normal"
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)


def test_a_report_holds_everything(cli: Cli, tuned_folder: Path, straight: Path, tmp_path: Path):
    here(tuned_folder, tmp_path)
    shutil.copytree(straight, tmp_path / "<b>odd & name")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    result = cli("report", ".")
    assert result.exit_code == 0, result.output
    assert "7 runs, 1 studies" in result.stdout
    assert result.stderr.startswith("Warning: left out broken: ")
    assert result.stderr.count("\n") == 1
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;odd &amp; name" in page
    assert "<b>odd" not in page
    assert "Left out: broken: " in page
    assert "subspace run rbd --dim 20 --epochs 3 --batch-size 64 --lr 0.5" in page
    assert page.count("data:image/png;base64,") == 7 + 2
    assert not [word for word in ("http://", "https://", "src=/", "@import") if word in page]


def test_tensorboard_gets_the_records(cli: Cli, tmp_path: Path):
    pytest.importorskip("tensorboardX")
    result = cli("run", "sgd", "--epochs", 1, "--tensorboard", "--out", "run")
    assert result.exit_code == 0, result.output
    (file,) = (tmp_path / "run/tensorboard").iterdir()
    assert b"accuracy/validation" in file.read_bytes()


def test_tensorboard_is_asked_for_in_vain(cli: Cli, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    check(cli("run", "sgd", "--tensorboard"), "pip install 'subspace-jax[tensorboard]'")
    assert snapshot(tmp_path) == {}
