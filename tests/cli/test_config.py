"""Options from files and by name: the same run as by flags, and one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import TINY, Cli, assert_same_run, check

from subspace.store.folder import RunFolder

TOML = """
method = "rbd"
dim = 20
lr = 0.5
batch-size = 64
augment = false
epochs = 1
milestones = [1]

[[then]]
method = "fpd"
dim = 10
epochs = 1
"""
YAML = """
method: rbd
dim: 20
lr: 0.5
batch_size: 64
augment: no
epochs: 1
milestones: [1]
then:
  - {method: fpd, dim: 10, epochs: 1}
"""


@pytest.mark.parametrize(("name", "text"), [("run.toml", TOML), ("run.yaml", YAML)])
def test_a_file_is_its_flags(cli: Cli, name: str, text: str):
    Path(name).write_text(text)
    assert cli("run", "--config", name, "--out", "a").exit_code == 0
    flags = ("--dim", 20, "--lr", 0.5, "--batch-size", 64, "--no-augment", "--milestones", 1)
    then = ("--then", "fpd:dim=10,epochs=1")
    assert cli("run", "rbd", *flags, "--epochs", 1, *then, "--out", "b").exit_code == 0
    assert RunFolder(Path("a")).read_config() == RunFolder(Path("b")).read_config()


def test_a_runs_own_configuration_repeats_it_bit_for_bit(cli: Cli):
    rounds = ("--local-steps", 2, "--workers", 2, "--seed", 3, "--momentum", 0.5)
    then = ("--then", "sgd:epochs=1")
    assert cli("run", "rbd", *TINY, *rounds, "--epochs", 1, *then, "--out", "a").exit_code == 0
    assert cli("run", "--config", "a/config.json", "--out", "b").exit_code == 0
    assert_same_run(Path("a"), Path("b"))


def test_flags_go_over_names_and_names_over_the_file(cli: Cli):
    Path("run.toml").write_text(TOML)
    told = ("--config", "run.toml", "--set", "dim=12", "--set", "lr=0.25", "--set", "seed=4")
    result = cli("run", *told, "--dim", 14, "--then", "sgd:epochs=1", "--out", "a")
    assert result.exit_code == 0, result.output
    config = RunFolder(Path("a")).read_config()
    assert (config.phases[0].values["dim"], config.seed) == (14, 4)
    assert config.phases[0].learning_rate == 0.25
    assert config.methods == "rbd-sgd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dimm = 3", ("dimm is no option", "did you mean 'dim'")),
        ("dim = ", ("run.toml is no TOML",)),
        ("method = 'rbd'\ndim = 'many'", ("can't read 'many'",)),
        ("method = 'rbd'\ndim = 0", ("dim",)),
        ("method = 'rbd'\nlr = [1, 2]", ("number",)),
        ("method = 'rbd'\nthen = 3", ("list of tables",)),
        ("epochs = 1", ("say which",)),
        ("[then]\nmethod = 'sgd'", ("list of tables",)),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(cli: Cli, text: str, said: tuple[str, ...]):
    Path("run.toml").write_text(text)
    check(cli("run", "--config", "run.toml", "--out", "a"), *said)
    assert not Path("a").exists()


def test_files_that_hold_no_options(cli: Cli):
    Path("list.json").write_text("[1]")
    check(cli("run", "--config", "list.json"), "--config: ", "no options")
    Path("odd.yaml").write_text("{a: [")
    check(cli("run", "--config", "odd.yaml"), "--config: ", "no YAML")
    Path("binary.toml").write_bytes(b"\xff\x00")
    check(cli("run", "--config", "binary.toml"), "--config: ", "no TOML")
    check(cli("run", "--config", "missing.toml"), "--config: ", "missing.toml")
    Path("run.json").write_text(json.dumps({"phases": []}))
    check(cli("run", "--config", "run.json"), "--config: ")
    check(cli("run", "rbd", "--set", "dim"), "--set: ", "key=value")
    check(cli("run", "rbd", "--set", "dmi=3"), "--set: ", "did you mean 'dim'")
    check(cli("run", "rbd", "--set", "dim=x"), "dim", "can't read 'x'")
