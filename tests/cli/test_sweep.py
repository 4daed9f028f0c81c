"""``subspace sweep``: a grid or random points, made once, in a table with the best first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import Cli, check

from subspace.study.sweep import Range, grid, random

GRID = """
method = "rbd"
epochs = 1
batch-size = 64
augment = false
[sweep]
lr = [0.5, 2]
dim = [10, 50]
"""


def test_a_grid_is_made_once_and_the_best_comes_first(cli: Cli):
    Path("grid.toml").write_text(GRID)
    result = cli("sweep", "grid.toml", "--out", "study", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["rows"]) == 4
    figures = [float(row["validation %"]) for row in found["rows"]]
    assert figures == sorted(figures, reverse=True)
    best = {name: float(found["rows"][0][name]) for name in ("learning_rate", "dim")}
    assert found["best"] == best
    assert {path.name for path in Path("study").iterdir()} >= {"table.md", "table.csv", "sweep.png"}

    runs = Path("study/runs")
    made = {path.name: path.stat().st_mtime_ns for path in runs.iterdir()}
    Path("grid.toml").write_text(GRID.replace("[10, 50]", "[10, 50]\nseed = [0]"))
    again = cli("sweep", "grid.toml", "--out", "study")
    assert again.exit_code == 0, again.output  # with seeds named, runs are others
    Path("grid.toml").write_text(GRID)
    again = cli("sweep", "grid.toml", "--out", "study")
    assert "4 of them finished before" in again.stdout
    assert {name: (runs / name).stat().st_mtime_ns for name in made} == made


def test_random_points_are_named_by_a_seed(cli: Cli):
    Path("random.yaml").write_text(
        "epochs: 1\nbatch_size: 64\nrandom:\n  trials: 3\n  method: [sgd, rbd]\n"
        "  lr: {low: 0.01, high: 1, log: true}\n"
    )
    first, again = (cli("sweep", "random.yaml", "--out", out, "--json") for out in ("a", "b"))
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["rows"] == json.loads(again.stdout)["rows"]
    assert len(json.loads(first.stdout)["rows"]) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 1", "[sweep] or [random]"),
        ("[sweep]", "is empty"),
        ("sweep = 3", "is a table"),
        ("[sweep]\nlr = 0.5", "list of values"),
        ("[sweep]\nlr = []", "list of values"),
        ("[sweep]\nlrr = [1]", "lrr is no option"),
        ("[sweep]\nlr = [-1]", "--lr"),
        ("[sweep]\nseed = [1]\n[random]\ntrials = 1", "[sweep] or [random]"),
        ("[random]\nlr = {low = 1, high = 0.5}", "low below high"),
        ("[random]\nlr = {low = 0, high = 1, log = true}", "low below high"),
        ("[random]\ntrials = 0\nlr = [1]", "trials"),
        ("[random]\nlr = {min = 0, max = 1}", "a range is"),
        ("[sweep]\nseed = [" + ",".join(map(str, range(300))) + "]\ndim = [" + "1," * 50 + "]", ""),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(cli: Cli, text: str, said: str):
    Path("sweep.toml").write_text(text)
    check(cli("sweep", "sweep.toml", "--out", "study"), said)


def test_a_range_holds_what_is_drawn_from_it():
    for told in ({"low": 2, "high": 5}, {"low": 1, "high": 64, "log": True}):
        drawn = [p["x"] for p in random({"x": Range.of("x", told)}, 300, seed=0)]
        assert all(isinstance(x, int) for x in drawn)
        assert (min(drawn), max(drawn)) == (told["low"], told["high"])
    drawn = [p["x"] for p in random({"x": Range(0.01, 1.0, True)}, 300, seed=0)]
    assert 0.4 < sum(x < 0.1 for x in drawn) / 300 < 0.6
    assert grid({"a": [1, 2], "b": [3]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
