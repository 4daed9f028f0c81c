"""``evaluate``, ``compare``, ``list``, ``--help`` and ``--version``."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from cli_helpers import PNG, STEPS, Cli, check, snapshot
from rich.console import Console

from subspace import data
from subspace.basis import BASES
from subspace.config.run import RunConfig
from subspace.methods import METHODS
from subspace.methods import rates as defaults
from subspace.models import MODELS
from subspace.spaces.allocate import ALLOCATIONS
from subspace.store.folder import RunFolder
from subspace_cli import main  # pyright: ignore[reportMissingImports]
from subspace_cli.errors import flag  # pyright: ignore[reportMissingImports]
from subspace_cli.show import print_table  # pyright: ignore[reportMissingImports]


def test_evaluate_repeats_the_summary(cli: Cli, straight: Path):
    before = snapshot(straight)
    result = cli("evaluate", straight, "--json")
    assert result.exit_code == 0, result.output
    summary = RunFolder(straight).summary()
    assert json.loads(result.stdout) == {
        "run": str(straight),
        "split": "test",
        "step": 3 * STEPS,
        "loss": summary["test_loss"],
        "accuracy": summary["test_accuracy"],
    }
    assert snapshot(straight) == before


@pytest.mark.parametrize("split", ["train", "validation"])
def test_evaluate_another_split(cli: Cli, straight: Path, split: str):
    result = cli("evaluate", straight, "--split", split)
    assert result.exit_code == 0, result.output
    header, figures = result.stdout.splitlines()
    assert header.split() == ["run", "split", "step", "loss", "accuracy"]
    assert figures.split()[:3] == [str(straight), split, str(3 * STEPS)]


@pytest.mark.draws
def test_compare(cli: Cli, straight: Path):
    result = cli("compare", straight, straight, "--plot", "both.png")
    assert result.exit_code == 0, result.output
    header, *rows, wrote = result.stdout.splitlines()
    words = "run method model dataset D d lr epochs gradient epochs train validation test"
    words += " seconds examples/s"
    assert header.split() == words.split()
    row = [str(straight), "rbd", "fc", "digits", "9,610", "20", "0.5", "3"]
    assert [line.split()[:8] for line in rows] == [row, row]
    assert wrote == "Wrote both.png"
    assert Path("both.png").read_bytes().startswith(PNG)


def test_compare_as_json(cli: Cli, straight: Path):
    (record,) = json.loads(cli("compare", straight, "--json").stdout)
    assert record.pop("run") == str(straight)
    assert record == RunFolder(straight).summary()


def test_compare_unfinished(cli: Cli, tmp_path: Path, straight: Path):
    (tmp_path / "run").mkdir()
    check(cli("compare", straight, "run", "--plot", "a.png"), "RUN: ", "run holds no finished run")
    (tmp_path / "run" / "summary.json").write_text("[1")
    check(cli("compare", "run", "--plot", "a.png"), "RUN: ", "damaged")
    assert not Path("a.png").exists()


def test_list_names_everything(cli: Cli):
    result = cli("list")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    named = {words[0]: words[1:] for words in lines if words}
    datasets = dict(data.describe())
    for name in (*METHODS, *BASES, *ALLOCATIONS, *MODELS, *datasets):
        assert named[name], f"{name} has no description"
    for row in defaults.LEARNING_RATES:
        wanted = [row.method, row.model, row.dataset, f"{row.learning_rate:.6g}"]
        assert any(words[:4] == wanted for words in lines)


def test_list_of_models_has_sizes_and_sources(cli: Cli):
    lines = [line.split() for line in cli("list", "models").stdout.splitlines()]
    named = {words[0]: words[1:] for words in lines if words}
    of_tokens = ("bert", "decoder")
    assert all(named[name][1] == MODELS[name].source for name in MODELS if name not in of_tokens)
    assert named["vgg11_bn"][0] == "28,518,244"
    assert named["squeezenet"][0] == "781,156"


def test_list_of_one_topic(cli: Cli):
    shown = cli("list", "bases").stdout
    assert "hadamard" in shown
    assert "digits" not in shown
    check(cli("list", "colours"), "colours", "datasets")


_IN_WORDS = ("learning_rate", "epochs", "model")


def test_help_tells_the_defaults(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERMINAL_WIDTH", "500")
    shown = cli("run", "--help").stdout
    config = RunConfig.resolve({"method": "nes"}).to_json()
    fields = config | config.pop("phases")[0]
    for name, value in fields.items():
        if name in ("method", "epochs_before"):  # an argument; follows from --from
            continue
        line = rf"^\W*{flag(name)} .*Default: (.+)\."
        said = re.search(line, shown, re.MULTILINE)
        assert said, name
        if value is None or isinstance(value, bool | tuple) or name in _IN_WORDS:
            continue  # depend on others, or are put in words
        plain = f"{value:g}" if isinstance(value, float) else str(value)
        assert re.match(rf"{re.escape(plain)}\b", said[1]), name
    for name in (*METHODS, "subspace list models"):
        assert re.search(rf"\b{name}\b", shown)


def test_help_without_jax():
    program = (
        "import sys; from subspace_cli.main import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "finally: print('jax', 'jax' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for command in ("run", "evaluate", "compare", "list"):
        assert re.search(rf"\b{command}\b", result.stdout)
    assert result.stdout.endswith("jax False\n")


def test_version_and_no_command(cli: Cli):
    assert cli("--version").stdout == f"subspace {version('subspace-jax')}\n"
    bare = cli()
    assert bare.exit_code == 0
    assert "subspace run rbd" in bare.stdout


def test_console_script():
    (script,) = entry_points(group="console_scripts", name="subspace")
    assert script.load() is main.main


@pytest.mark.parametrize(("width", "first"), [(200, "run method"), (60, "run a b")])
def test_a_wide_table_is_turned(width: int, first: str):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    header = ["run", "method", *(f"column {i}" for i in range(10))]
    print_table(console, header, [[name, "rbd", *"0123456789"] for name in "ab"], left=2)
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert " ".join(lines[0].split()).startswith(first)
    assert "…" not in "".join(lines)
