"""``subspace run hylo | sngd | kfac``: what they print and record, and that they resume."""

from __future__ import annotations

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from cli_helpers import Cli, assert_same_run, check
from normed import normed  # noqa: F401

from subspace import models, run
from subspace.config.run import RunConfig
from subspace.store.folder import RunFolder
from subspace.train.callbacks import Callback, Stopped

TINY = ("--batch-size", 64, "--refresh", 7, "--lr", 0.02, "--epochs", 2, "--out")


@pytest.mark.parametrize("method", ["sngd", "kfac"])
def test_they_train(cli: Cli, method: str):
    result = cli("run", method, *TINY, "run")
    assert result.exit_code == 0, result.output
    assert "curvature of 2 layers\n" in result.stdout
    records = RunFolder(Path("run")).records()
    assert [record["refreshes"] for record in records] == [3, 6]  # at steps 0, 7, ... of 40
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["validation_accuracy"] > 0.85
    assert summary["phases"][0]["without_curvature"] == []


def test_hylo_switches_and_resumes_bit_for_bit(tmp_path: Path):
    """After a drop of the learning rate, kid again; otherwise from the third epoch on, kis."""
    given = {"method": "hylo", "batch_size": 64, "epochs": 5, "refresh": 10, "threshold": 1e9}
    given |= {"milestones": (3,), "learning_rate": 0.02, "memory": 3}
    config = RunConfig.resolve(given)
    straight, folder = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "run")
    run.execute(config, straight)
    counts = [(r["kid_refreshes"], r["kis_refreshes"]) for r in straight.records()]
    assert counts == [(2, 0), (4, 0), (4, 2), (6, 2), (6, 4)]
    assert "gradient_change" not in straight.records()[0]  # there is none to compare with
    asked = iter(range(100))
    with pytest.raises(Stopped):
        run.execute(config, folder, callback=Callback(should_stop=lambda: next(asked) == 47))
    run.execute(config, folder, resume=True)
    assert_same_run(folder.path, straight.path)


class Scaled(eqx.Module):
    """A dense layer behind something else."""

    scale: jax.Array
    out: models.Dense

    def __init__(self, in_shape, classes, *, key):
        self.scale = jnp.ones(in_shape)
        self.out = models.Dense(math.prod(in_shape), classes, key=key)

    def __call__(self, image):
        return self.out((self.scale * image).reshape(-1))


def test_parameters_whose_curvature_is_unknown_are_named(cli: Cli, monkeypatch):
    monkeypatch.setitem(models.MODELS, "scaled", models.ModelEntry("", Scaled))
    result = cli("run", "hylo", "--model", "scaled", *TINY, "run")
    assert result.exit_code == 0, result.output
    assert "curvature of 1 layer; .scale keep their gradient" in " ".join(result.stdout.split())
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["phases"][0]["without_curvature"] == [".scale"]
    assert summary["phases"][0]["kid_refreshes"] == 6


def test_a_model_without_layers_of_known_curvature(cli: Cli, normed: None):  # noqa: F811
    check(cli("run", "hylo", "--model", "normed", *TINY, "run"), "--model: ", "no dense or conv")
