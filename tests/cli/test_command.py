"""The command that makes a run like a given one."""

from __future__ import annotations

import shlex

import pytest
from cli_helpers import Cli

from subspace.config.run import RunConfig
from subspace.store.folder import RunFolder
from subspace_cli.command import run_command, same_task  # pyright: ignore[reportMissingImports]

CASES = [
    ({"method": "rbd"}, []),
    ({"method": "rbd_in_law", "learning_rate": 0.3, "dim": 20}, []),
    ({"method": "rbd", "error_feedback": True, "recent": 3, "seed": 7, "validation": 0.2}, []),
    ({"method": "nes", "dim": 10, "separate_batches": True, "antithetic": True, "sigma": 0.1}, []),
    ({"method": "sgd", "milestones": (1,), "weight_decay": 1e-4, "augment": True}, []),
    (
        {"method": "dldr", "epochs": 5, "milestones": (), "label_noise": 0.2},
        [
            {"method": "psgd", "dim": 3, "milestones": (1, 2), "start": "last"},
            {"method": "pbfgs", "dim": 3, "pairs": "shared", "initial": "identity"},
            {"method": "sgd", "learning_rate": 1e-3},
        ],
    ),
]


@pytest.mark.parametrize(("given", "then"), CASES)
def test_it_describes_the_run(cli: Cli, monkeypatch, tmp_path, given, then):
    """Read by `subspace run`, it asks for the same configuration."""
    config = RunConfig.resolve(given, then)
    asked = []

    def execute(config: RunConfig, folder: RunFolder, **_):
        asked.append((config, folder.path))
        raise RuntimeError("that will do")

    monkeypatch.setattr("subspace.run.execute", execute)
    words = shlex.split(run_command(config, tmp_path / "there"))
    assert words[:2] == ["subspace", "run"]
    cli(*words[1:])
    assert asked == [(config, tmp_path / "there")]


def test_it_says_no_more_than_it_must():
    assert run_command(RunConfig.resolve({"method": "rbd"}), rate=False) == "subspace run rbd"
    other = same_task(RunConfig.resolve({"method": "rbd", "dim": 9, "epochs": 3}), "sgd")
    assert run_command(other, rate=False) == "subspace run sgd --epochs 3"


def test_another_methods_run_has_the_same_images_labels_and_weights_to_begin_with():
    task = {"label_noise": 0.2, "init_from": "/base", "stream": True, "image_size": 9, "seed": 2}
    other = same_task(RunConfig.resolve({"method": "rbd", "augment": False, **task}), "sgd")
    assert {name: getattr(other, name) for name in task} == task
    assert not other.augment
