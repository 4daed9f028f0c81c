"""``subspace run``: what it prints, what it writes, and when a run diverges."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import PNG, STEPS, TINY, Cli, edit_record, final_state

from subspace import files
from subspace.config.run import RunConfig
from subspace.methods.rates import learning_rate
from subspace.run import request
from subspace.store.folder import RunFolder

SUMMARY = """
    method dataset model parameters dimensions basis compartments seed epochs steps batch_size
    learning_rate train_loss train_accuracy validation_accuracy test_loss test_accuracy seconds
    examples_per_second device versions
"""


@pytest.mark.draws
def test_what_it_prints(cli: Cli):
    result = cli("run", "rbd", *TINY, "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    start, one, two, _, header, figures, _, wrote, _, *commands = result.stdout.splitlines()
    assert start.startswith("rbd: fc on digits, D = 9,610, d = 20, lr 0.5, ")
    assert start.endswith("in runs/rbd-fc-digits")
    for i, line in enumerate((one, two), 1):
        assert re.fullmatch(
            rf"epoch {i}/2  loss [\d.]+  accuracy +[\d.]+%  validation +[\d.]+%  [\d,]+ examples/s",
            line,
        )
    assert re.split(" {2,}", header.strip()) == [
        "parameters D",
        "dimensions d",
        "compression D/d",
        "train",
        "validation",
        "test",
        "seconds",
    ]
    assert figures.split()[:3] == ["9,610", "20", "480.5×"]
    assert wrote == "Wrote runs/rbd-fc-digits (learning curves: runs/rbd-fc-digits/curve.png)"
    assert commands == [
        "  subspace run sgd --epochs 2 --batch-size 64",
        "  subspace compare runs/rbd-fc-digits runs/sgd-fc-digits --plot compare.png",
    ]
    for command in commands:  # and they work as they are printed
        assert cli(*shlex.split(command)[1:]).exit_code == 0
    assert Path("compare.png").read_bytes().startswith(PNG)


def test_what_it_writes(straight: Path):
    names = {entry.name for entry in straight.iterdir()}
    assert set(files.odd(names)) == {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "curve.png",
        "checkpoints",
    }
    config = json.loads((straight / "config.json").read_text())
    assert {"made_with", "digest"} < config.keys()
    again = {name: value for name, value in config.items() if name not in ("made_with", "digest")}
    assert RunConfig.from_json(again) == RunFolder(straight).read_config()
    assert config["phases"][0]["learning_rate"] == 0.5
    records = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert records[0]["train_loss"] > records[-1]["train_loss"]
    assert (straight / "curve.png").read_bytes().startswith(PNG)
    steps = {int(entry.name) for entry in (straight / "checkpoints").iterdir()}
    assert steps == {STEPS, 2 * STEPS, 3 * STEPS}


def test_summary(straight: Path):
    summary = json.loads((straight / "summary.json").read_text())
    assert set(SUMMARY.split()) <= summary.keys()
    assert summary["parameters"] == 9610
    assert summary["dimensions"] == 20
    assert summary["steps"] == 3 * STEPS
    assert 0 < summary["test_accuracy"] < 1
    assert math.isfinite(summary["test_loss"])
    assert summary["seconds"] > 0
    assert summary["examples_per_second"] > 0
    assert summary["versions"]["jax"]


def test_json_is_the_last_line(cli: Cli):
    given = ("--epochs", 1, "--validation", 0, "--json")
    result = cli("run", "sgd", *given, "--batch-size", 64, "--out", "deep/er/run")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    summary = json.loads(line, parse_constant=lambda name: 1 / 0)
    assert summary.pop("run") == "deep/er/run"
    assert summary == RunFolder(Path("deep/er/run")).summary()
    assert summary["dimensions"] == summary["parameters"]
    assert summary["basis"] is None
    assert summary["validation_accuracy"] is None
    assert "epoch 1/1" in result.stderr


def test_diverges_at_once(cli: Cli):
    given = ("--batch-size", 64, "--epochs", 2, "--lr", 1e30, "--out", "run")
    result = cli("run", "sgd", *given)
    assert result.exit_code == 3, result.output
    said = re.fullmatch(
        r"Error: the loss is not finite at step \d+; no checkpoint was saved before; "
        r"start again with a smaller --lr, such as (\S+)\n",
        result.stderr,
    )
    assert said, result.stderr
    assert float(said[1]) == learning_rate("sgd", "fc", "digits").learning_rate
    assert not Path("run/summary.json").exists()


def test_diverges_later(cli: Cli, copy: Callable[[Path], Path], straight: Path):
    path = copy(straight)
    edit_record(path / "config.json", lambda config: config["phases"][0].update(learning_rate=1e30))
    result = cli("run", "rbd", "--out", path, "--resume", "--epochs", 5)
    assert result.exit_code == 3, result.output
    assert f"the last good checkpoint is {path}/checkpoints/{3 * STEPS};" in result.stderr
    step, arrays = final_state(path)
    assert step == 3 * STEPS
    assert all(math.isfinite(array.sum()) for array in arrays if array.dtype.kind == "f")


def test_a_new_run_gets_a_new_folder(cli: Cli):
    assert request({})[1].path == Path("runs/rbd-fc-digits")
    Path("runs/rbd-fc-digits").mkdir(parents=True)
    assert request({})[1].path == Path("runs/rbd-fc-digits-2")


def test_nes_learns_from_evaluations_alone(cli: Cli):
    given = ("--dim", 30, "--batch-size", 256, "--epochs", 4, "--lr", 0.5, "--no-antithetic")
    result = cli("run", "nes", *given, "--json")
    assert result.exit_code == 0, result.output
    losses = [record["train_loss"] for record in RunFolder(Path("runs/nes-fc-digits")).records()]
    assert losses[-1] < 0.8 * losses[0]
    assert json.loads(result.stdout.splitlines()[-1])["dimensions"] == 30


def test_nes_with_a_mini_batch_for_every_direction(cli: Cli):
    given = ("--dim", 10, "--batch-size", 640, "--epochs", 4, "--lr", 0.5, "--separate-batches")
    result = cli("run", "nes", *given, "--sigma", 0.1)
    assert result.exit_code == 0, result.output
    losses = [record["train_loss"] for record in RunFolder(Path("runs/nes-fc-digits")).records()]
    assert losses[-1] < losses[0]


def test_rbd_in_law_trains_as_rbd_with_normal_rows(cli: Cli):
    losses = {}
    for method, more in (("rbd_in_law", ()), ("rbd", ("--basis", "normal"))):
        given = ("--dim", 100, "--epochs", 3, "--lr", 2, "--batch-size", 64)
        result = cli("run", method, *given, *more, "--out", method)
        assert result.exit_code == 0, result.output
        folder = RunFolder(Path(method))
        losses[method] = folder.records()[-1]["train_loss"]
        assert folder.summary()["dimensions"] == 100
    assert losses["rbd_in_law"] == pytest.approx(losses["rbd"], rel=0.1)
