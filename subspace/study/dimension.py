"""How many dimensions a problem needs: the smallest d that comes near to SGD on all parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.store import tuned
from subspace.study.cell import Cell, Result, slug
from subspace.study.folder import Study


@dataclass(frozen=True)
class Question:
    """What is asked, and how much may be spent on it.

    Attributes:
        target: fraction of SGD's accuracy that is to be reached (Li et al. 2018: 0.9).
        seeds: runs of SGD, and of each d.
        low: the first d that is tried.
        precision: the search ends when the smallest d that reaches the target is at most so many
            times the largest below it that doesn't.
        max_runs: the search ends with the d after which so many runs are used up.
    """

    target: float = 0.9
    seeds: int = 3
    low: int = 10
    precision: float = 1.2
    max_runs: int = 100

    def __post_init__(self):
        if not 0 < self.target < 1:
            raise InvalidInput("target", f"is a fraction of SGD's accuracy, got {self.target}")
        if self.precision <= 1:
            raise InvalidInput("precision", f"must be above 1, got {self.precision}")
        for name in ("seeds", "low", "max_runs"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, f"must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Point:
    """One d: the best held-out accuracy of each seed, at the learning rate that was best for it."""

    dim: int
    learning_rate: float
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        baseline: SGD's best held-out accuracy, by seed.
        points: every d that was tried, in order.
        smallest: the smallest d whose mean reaches the target; None if none does.
        estimate: where the accuracy crosses the target, interpolated for each seed along log d
            beside SGD with the same seed; their geometric mean.
        interval: of the estimate, 95%, by Student's t over the logarithms; None for one seed.
        parameters: D.
        runs: how many were looked at.
    """

    baseline: tuple[float, ...]
    points: tuple[Point, ...]
    smallest: int | None
    estimate: float | None
    interval: tuple[float, float] | None
    parameters: int
    runs: int


def find_dimension(
    study: Study,
    given: Mapping[str, Any],
    question: Question,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Answer:
    """Doubles d until it reaches the target, then halves the gap, on a logarithmic scale.

    For each d the learning rate climbs in factors of 2 from that of the d before, by seed 0's best
    held-out accuracy; the other seeds take the rate that won.

    Args:
        study: where the runs are made; those that it holds are not made again.
        given: fields of the runs in a subspace, as for `RunConfig.resolve`; SGD has the same model,
            data, epochs and batch size.
        question: what is asked.
        on_point: called with each d that was tried.

    Raises:
        InvalidInput: a field can't be used, there are no held-out images, or SGD diverged.
        Stopped: the study's watcher asked for it.
    """
    search = _Search(study, given, question)
    baseline, parameters = search.baseline()
    level = question.target * float(np.mean(baseline))
    points: dict[int, Point] = {}

    def reaches(dim: int) -> bool:
        points[dim] = search.point(dim)
        on_point(points[dim])
        return points[dim].mean >= level

    below, above, dim = 0, None, min(question.low, parameters)
    while above is None and not search.spent:
        if reaches(dim):
            above = dim
        elif dim == parameters:
            break
        else:
            below, dim = dim, min(2 * dim, parameters)
    while above and above > max(below * question.precision, below + 1) and not search.spent:
        middle = max(below + 1, round(math.sqrt(max(below, 1) * above)))
        if reaches(middle):
            above = middle
        else:
            below = middle
    ordered = tuple(points[dim] for dim in sorted(points))
    estimate, interval = _estimate(ordered, [question.target * one for one in baseline])
    return Answer(baseline, ordered, above, estimate, interval, parameters, search.runs)


class _Search:
    """Makes the runs that a search asks for, and counts them."""

    def __init__(self, study: Study, given: Mapping[str, Any], question: Question):
        self._study, self._given, self._question = study, given, question
        self._rate: float | None = None
        self.runs = 0

    @property
    def spent(self) -> bool:
        return self.runs >= self._question.max_runs

    def baseline(self) -> tuple[tuple[float, ...], int]:
        """SGD's accuracies, and D."""
        shared = ("model", "dataset", "data_dir", "epochs", "batch_size", "augment", "validation")
        given = {name: self._given[name] for name in shared if name in self._given}
        given |= {"method": "sgd"}
        rate = tuned.find(given).learning_rate
        results = [self._run("sgd", given, rate, seed) for seed in range(self._question.seeds)]
        first = results[0].summary
        if first is None or any(result.summary is None for result in results):
            raise InvalidInput("model", "SGD diverged; `subspace tune sgd` finds a learning rate")
        if first["validation_accuracy"] is None:
            raise InvalidInput("validation", "must be above 0: held-out images are the measure")
        return tuple(map(_accuracy, results)), int(first["parameters"])

    def point(self, dim: int) -> Point:
        given = {**self._given, "dim": dim}
        if self._rate is None:
            self._rate = self._first_rate(given)
        rate, first = self._climb(dim, given, self._rate)
        self._rate = rate
        name = f"{given['method']}-d{dim}"
        others = [self._run(name, given, rate, seed) for seed in range(1, self._question.seeds)]
        return Point(dim, rate, (first, *map(_accuracy, others)))

    def _first_rate(self, given: Mapping[str, Any]) -> float:
        found = tuned.find(given).learning_rate
        rate = found or RunConfig.resolve(given).phases[0].learning_rate
        if rate is None:
            raise InvalidInput("method", f"{given['method']} has no learning rate")
        return float(rate)

    def _climb(self, dim: int, given: Mapping[str, Any], rate: float) -> tuple[float, float]:
        """The best rate near one, and its accuracy."""
        tried: dict[float, float] = {}

        def accuracy(rate: float) -> float:
            if rate not in tried:
                tried[rate] = _accuracy(self._run(f"{given['method']}-d{dim}", given, rate, 0))
            return tried[rate]

        while True:
            best = max((rate, 2 * rate, rate / 2), key=accuracy)
            if best == rate:
                return rate, tried[rate]
            rate = best

    def _run(self, name: str, given: Mapping[str, Any], rate: float | None, seed: int) -> Result:
        self.runs += 1
        fields = {**given, "seed": seed, "learning_rate": rate}
        exponent = "" if rate is None else f"-lr={rate:g}"
        return self._study.make([Cell(slug(f"{name}{exponent}-s{seed}"), fields)])[0]


def _accuracy(result: Result) -> float:
    """The best held-out accuracy of a run's epochs; 0 if it diverged."""
    return float(result.summary["best_validation_accuracy"]) if result.summary else 0.0


def _estimate(
    points: Sequence[Point], levels: Sequence[float]
) -> tuple[float | None, tuple[float, float] | None]:
    """The geometric mean of the seeds' crossings, and its interval."""
    found = [_crossing(points, seed, level) for seed, level in enumerate(levels)]
    logs = [math.log(one) for one in found if one is not None]
    if not logs or len(logs) < len(found):
        return None, None
    middle = float(np.mean(logs))
    if len(logs) == 1:
        return math.exp(middle), None
    from scipy.stats import t

    half = t.ppf(0.975, len(logs) - 1) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def _crossing(points: Sequence[Point], seed: int, level: float) -> float | None:
    """Where a seed's accuracy, made monotone by a running maximum, first reaches a level."""
    best, previous = -math.inf, None
    for point in points:
        accuracy = max(best, point.accuracies[seed])
        if accuracy >= level:
            if previous is None:
                return float(point.dim)
            share = (level - best) / (accuracy - best)
            return float(previous * (point.dim / previous) ** share)
        best, previous = accuracy, point.dim
    return None
