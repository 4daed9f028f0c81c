"""A folder of runs: each made once, none lost, one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import equinox as eqx
import jax
import pytest

from subspace import InvalidInput, models
from subspace.files import read_record, write_record
from subspace.spaces.allocate import allocate
from subspace.study.cell import Cell
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import MeanStd
from subspace.study.targets import TARGETS
from subspace.tasks import Metric
from subspace.train.callbacks import Stopped

METRIC = Metric("accuracy", "%", maximise=True)
TINY = {"method": "rbd", "dim": 10, "batch_size": 256, "epochs": 2, "learning_rate": 1.0}


def test_runs_are_made_once(tmp_path: Path):
    made, damaged = [], []
    watcher = StudyCallback(
        on_cell=lambda cell: made.append(cell.name), on_damaged=lambda p: damaged.append(p.name)
    )
    cells = [Cell("a", TINY), Cell("b", TINY | {"seed": 1})]
    with Study(tmp_path, watcher) as study:
        first = study.make(cells)
    assert made == ["a", "b"]
    with Study(tmp_path, watcher) as study:
        again = study.make(cells)
        assert made == ["a", "b"]
        assert [result.summary for result in again] == [result.summary for result in first]
        with pytest.raises(InvalidInput, match="holds a with other settings"):
            study.make([Cell("a", TINY | {"epochs": 3})])
        (tmp_path / "cells" / "b.json").write_text('{"config": ')  # as if cut short
        repaired = study.make(cells)
    assert made == ["a", "b", "b"]
    assert damaged == ["b.json"]
    assert repaired[1].summary is not None
    assert first[1].summary is not None
    assert repaired[1].summary["test_loss"] == first[1].summary["test_loss"]


def test_a_run_whose_record_lacks_a_field_is_made_again(tmp_path: Path):
    made = []
    with Study(tmp_path, StudyCallback(on_cell=lambda cell: made.append(cell.name))) as study:
        study.make([Cell("a", TINY)])
        file = tmp_path / "cells" / "a.json"
        record = read_record(file, "out")
        del record["config"]["phases"][0]["recent"]
        write_record(file, record)
        study.make([Cell("a", TINY)])
        assert made == ["a", "a"]


def test_a_stopped_run_goes_on(tmp_path: Path):
    asked = []

    def after_some_steps() -> bool:
        asked.append(None)
        return len(asked) > 3

    stopping = StudyCallback(should_stop=after_some_steps)
    with pytest.raises(Stopped), Study(tmp_path / "stopped", stopping) as study:
        study.make([Cell("a", TINY)])
    with Study(tmp_path / "stopped") as study:
        (result,) = study.make([Cell("a", TINY)])
    with Study(tmp_path / "straight") as study:
        (straight,) = study.make([Cell("a", TINY)])
    assert result.summary is not None
    assert straight.summary is not None
    assert result.summary["test_loss"] == straight.summary["test_loss"]


def test_a_folder_is_one_processs_at_a_time(tmp_path: Path):
    with (
        Study(tmp_path),
        pytest.raises(InvalidInput, match=f"in use by process {os.getpid()} on "),
        Study(tmp_path),
    ):
        pass
    with Study(tmp_path):
        pass


def test_a_run_that_diverges_is_a_result(tmp_path: Path):
    with Study(tmp_path) as study:
        results = study.make(
            [Cell("a", TINY | {"method": "sgd", "dim": None, "learning_rate": 1e30})]
        )
    assert results[0].summary is None
    assert MeanStd.of(results, "test_accuracy").text(METRIC) == "diverged"


@pytest.mark.parametrize("name", TARGETS)
def test_targets_have_distinct_runs_with_valid_settings(name: str):
    from subspace.config.run import RunConfig

    for plan in (TARGETS[name].plan("quick"), TARGETS[name].plan("full")):
        cells = TARGETS[name].cells(plan)
        assert len({cell.name for cell in cells}) == len(cells)
        for cell in cells:
            RunConfig.resolve(cell.given, cell.then)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"budget": "medium"}, "choose from: quick, full"),
        ({"budget": "quick", "epochs": 0}, "at least 1"),
        ({"budget": "quick", "seeds": 0}, "at least 1"),
        ({"budget": "quick", "models": ("fcc",)}, "did you mean 'fc'"),
    ],
)
def test_bad_plans_are_named(given, words):
    with pytest.raises(InvalidInput, match=words):
        TARGETS["table1"].plan(**given)


def test_table_3_has_the_papers_numbers_of_directions():
    """7,982, 3,328, 1,782 and 1,018 of ResNet-8's 78,330, shared out by tensor."""
    key = jax.random.key(0)
    model, _ = models.build("resnet8", (32, 32, 3), 10, key=key)
    params = eqx.filter(model, eqx.is_inexact_array)
    sizes = {str(i): leaf.size for i, leaf in enumerate(jax.tree.leaves(params))}
    cells = TARGETS["table3"].cells(TARGETS["table3"].plan("full", seeds=1))
    found = [sum(allocate(sizes, c.given["dim"], "proportional").values()) for c in cells[1:]]
    assert found == [7982, 3328, 1782, 1018, 7982]
