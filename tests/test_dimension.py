"""The search for the smallest d, on runs whose accuracies are made up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from subspace.errors import InvalidInput
from subspace.store.folder import RunFolder
from subspace.study.cell import Result
from subspace.study.dimension import Question, find_dimension
from subspace.study.folder import Study
from subspace.study.tune import Search

GIVEN = {"method": "fpd", "learning_rate": 1.0}


class Made(Study):
    """In place of a study: accuracy grows with log d, and is best at learning rate 4."""

    def __init__(self, needed: float, noise: float = 0.0):
        super().__init__(Path("nowhere"))
        self.needed, self.noise, self.cells = needed, noise, []

    def make(self, cells: Any) -> list[Result]:
        (cell,) = cells
        self.cells.append(cell.name)
        given = cell.given
        accuracy = 0.9
        if given["method"] == "fpd":
            off = abs(math.log2(given["learning_rate"]) - 2)
            shift = self.noise * (given["seed"] - 1)
            accuracy = 0.81 + 0.1 * math.log10(given["dim"] / self.needed) - 0.01 * off + shift
        figures: dict[str, Any] = {"metrics": [["accuracy", "%", True]]}
        figures |= {"best_validation_accuracy": accuracy, "validation_accuracy": accuracy}
        return [Result(cell, RunFolder(self.path), figures | {"parameters": 5000})]


@pytest.mark.parametrize("needed", [3, 77.7, 640, 4000])
def test_it_closes_in_on_the_crossing(needed):
    made = Made(needed)
    answer = find_dimension(made, GIVEN, Question(precision=1.05))
    assert answer.smallest is not None
    assert answer.smallest >= needed
    assert answer.smallest <= max(1.06 * needed, needed + 1)
    assert answer.estimate == pytest.approx(needed, rel=0.05, abs=0.5)
    assert all(point.learning_rate == 4 for point in answer.points)
    assert len(set(made.cells)) == len(made.cells) == answer.runs


def test_the_interval_covers_the_seeds():
    answer = find_dimension(Made(100, noise=0.01), GIVEN, Question(precision=1.05))
    assert answer.interval is not None
    low, high = answer.interval
    assert low < 10**1.9 < 10**2.1 < high  # the outer seeds' crossings
    assert answer.estimate == pytest.approx(100, rel=0.05)


def test_out_of_reach():
    answer = find_dimension(Made(1e6), GIVEN, Question())
    assert answer.smallest is answer.estimate is answer.interval is None
    assert answer.points[-1].dim == 5000


def test_an_adapter_has_no_more_dimensions_than_numbers():
    located = {"space": "factored", "rank": 1, "targets": "hidden.weight", "direct": "output.*"}
    answer = find_dimension(Made(10**9), GIVEN | located, Question(seeds=1))
    assert answer.smallest is None
    assert answer.points[-1].dim == 64 + 128 + 128 * 10 + 10


def test_the_budget_ends_it():
    answer = find_dimension(Made(4000), GIVEN, Question(max_runs=12))
    assert answer.runs < 12 + 8
    assert answer.smallest is None


def test_rounds_of_halving():
    assert Search().rungs() == [1, 3, 9]
    assert Search(epochs=20).rungs() == [1, 2, 6, 20]
    assert Search(low=0, high=2, epochs=9).rungs() == [3, 9]
    assert Search(epochs=7, strategy="grid").rungs() == [7]
    with pytest.raises(InvalidInput, match="highest"):
        Search(low=1, high=0)
