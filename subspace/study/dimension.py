"""How many dimensions a problem needs: the smallest d that comes near to SGD on all parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from subspace import run
from subspace.config.run import SHARED, RunConfig
from subspace.errors import InvalidInput
from subspace.optim.in_subspace import subspace_state
from subspace.options import check, option
from subspace.store import tuned
from subspace.study.cell import MOST_SEEDS, Cell, Result, slug
from subspace.study.folder import Study
from subspace.tasks import Metric
from subspace.train.trainer import Trainer

_ALIKE = {"epochs", "batch_size", "optimizer", "clip", "schedule", "warmup"}
"""What SGD does as the runs that are held against it."""


@dataclass(frozen=True)
class Question:
    """What is asked, and how much may be spent on it.

    Attributes:
        target: fraction of SGD's accuracy that is to be reached (Li et al. 2018: 0.9); of a metric
            that is to be low, SGD's is that fraction of what is to be reached.
        seeds: runs of SGD, and of each d.
        low: the first d that is tried.
        precision: the search ends when the smallest d that reaches the target is at most so many
            times the largest below it that doesn't.
        max_runs: the search ends with the d after which so many runs are used up.
    """

    target: int | float = option(0.9, "Fraction of SGD's accuracy to reach.", above=0, below=1)
    seeds: int = option(3, "Runs of SGD, and of each d.", least=1, most=MOST_SEEDS)
    low: int = option(10, "First d to try.", least=1)
    precision: int | float = option(1.2, "How near is near enough.", above=1)
    max_runs: int = option(100, "Stop after about so many runs.", least=1)

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Point:
    """One d: the best held-out figure of each seed, at the learning rate that was best for it."""

    dim: int
    learning_rate: float
    figures: tuple[float, ...]
    metric: Metric

    @property
    def mean(self) -> float:
        return float(np.mean(self.figures))

    @property
    def text(self) -> str:
        """Such as ``81.2% held out, lr 0.5``."""
        return f"{self.metric.show(self.mean)} held out, lr {self.learning_rate:.4g}"


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        metric: what is held against SGD's.
        baseline: SGD's best held-out figure, by seed.
        points: every d that was tried, in order.
        smallest: the smallest d whose mean reaches the target; None if none does.
        estimate: where the accuracy crosses the target, interpolated for each seed along log d
            beside SGD with the same seed; their geometric mean.
        interval: of the estimate, 95%, by Student's t over the logarithms; None for one seed.
        parameters: D.
        runs: how many were looked at.
    """

    metric: Metric
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
        Stopped: the study's callback asked for it.
    """
    search = _Search(study, given, question)
    metric, baseline, parameters = search.baseline()
    levels = [level(metric, question.target, one) for one in baseline]
    needed = level(metric, question.target, float(np.mean(baseline)))
    points: dict[int, Point] = {}

    def reaches(dim: int) -> bool:
        points[dim] = search.point(dim)
        on_point(points[dim])
        return not metric.better(needed, points[dim].mean)

    most = search.largest(question.low) or parameters
    below, above, dim = 0, None, min(question.low, most)
    while above is None and not search.spent:
        if reaches(dim):
            above = dim
        elif dim == most:
            break
        else:
            below, dim = dim, min(2 * dim, most)
    while above and above > max(below * question.precision, below + 1) and not search.spent:
        middle = max(below + 1, round(math.sqrt(max(below, 1) * above)))
        if reaches(middle):
            above = middle
        else:
            below = middle
    ordered = tuple(points[dim] for dim in sorted(points))
    estimate, interval = _estimate(metric, ordered, levels)
    return Answer(metric, baseline, ordered, above, estimate, interval, parameters, search.runs)


class _Search:
    """Makes the runs that a search asks for, and counts them."""

    def __init__(self, study: Study, given: Mapping[str, Any], question: Question):
        self._study, self._given, self._question = study, given, question
        self._rate: float | None = None
        self.runs = 0

    @property
    def spent(self) -> bool:
        return self.runs >= self._question.max_runs

    def baseline(self) -> tuple[Metric, tuple[float, ...], int]:
        """The metric, SGD's figures, and D."""
        shared = SHARED | _ALIKE
        given = {name: value for name, value in self._given.items() if name in shared}
        given |= {"method": "sgd"}
        rate = tuned.find(given).learning_rate
        results = [self._run("sgd", given, rate, seed) for seed in range(self._question.seeds)]
        first = results[0].summary
        if first is None or any(result.summary is None for result in results):
            raise InvalidInput("model", "SGD diverged; `subspace tune sgd` finds a learning rate")
        self._metric = Metric(*first["metrics"][0])
        if first[f"validation_{self._metric.name}"] is None:
            raise InvalidInput("validation", "must be above 0: held-out examples are the measure")
        return self._metric, tuple(map(self._figure, results)), int(first["parameters"])

    def largest(self, dim: int) -> int | None:
        """The most dimensions that the space can have, of which the first d is one; None for D."""
        config = RunConfig.resolve({**self._given, "dim": dim}).by_itself()
        trainer = Trainer(config, run.load(config))
        place, params = trainer.phases[0], trainer.weights.params
        optimizer = trainer.optimizer(place, params, trainer.exchange(place.phase))
        state = subspace_state(jax.eval_shape(optimizer.init, params))
        return None if state is None else state.space.largest()

    def point(self, dim: int) -> Point:
        given = {**self._given, "dim": dim}
        if self._rate is None:
            self._rate = self._first_rate(given)
        rate, first = self._climb(dim, given, self._rate)
        self._rate = rate
        name = f"{given['method']}-d{dim}"
        others = [self._run(name, given, rate, seed) for seed in range(1, self._question.seeds)]
        return Point(dim, rate, (first, *map(self._figure, others)), self._metric)

    def _first_rate(self, given: Mapping[str, Any]) -> float:
        found = tuned.find(given).learning_rate
        rate = found or RunConfig.resolve(given).phases[0].learning_rate
        if rate is None:
            raise InvalidInput("method", f"{given['method']} has no learning rate")
        return float(rate)

    def _climb(self, dim: int, given: Mapping[str, Any], rate: float) -> tuple[float, float]:
        """The best rate near one, and its figure."""
        tried: dict[float, float] = {}

        def figure(rate: float) -> float:
            if rate not in tried:
                tried[rate] = self._figure(self._run(f"{given['method']}-d{dim}", given, rate, 0))
            return tried[rate]

        while True:
            best = self._metric.best((rate, 2 * rate, rate / 2), key=figure)
            if best == rate:
                return rate, tried[rate]
            rate = best

    def _figure(self, result: Result) -> float:
        """The best held-out one of a run's epochs; the worst there is if it diverged."""
        if not result.summary:
            return -math.inf if self._metric.maximise else math.inf
        return float(result.summary[f"best_validation_{self._metric.name}"])

    def _run(self, name: str, given: Mapping[str, Any], rate: float | None, seed: int) -> Result:
        self.runs += 1
        fields = {**given, "seed": seed, "learning_rate": rate}
        exponent = "" if rate is None else f"-lr={rate:g}"
        return self._study.make([Cell(slug(f"{name}{exponent}-s{seed}"), fields)])[0]


def level(metric: Metric, target: float, baseline: float) -> float:
    """What is to be reached, beside what SGD has."""
    return target * baseline if metric.maximise else baseline / target


def _estimate(
    metric: Metric, points: Sequence[Point], levels: Sequence[float]
) -> tuple[float | None, tuple[float, float] | None]:
    """The geometric mean of the seeds' crossings, and its interval."""
    found = [_crossing(metric, points, seed, one) for seed, one in enumerate(levels)]
    logs = [math.log(one) for one in found if one is not None]
    if not logs or len(logs) < len(found):
        return None, None
    middle = float(np.mean(logs))
    if len(logs) == 1:
        return math.exp(middle), None
    from scipy.stats import t

    half = t.ppf(0.975, len(logs) - 1) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def _crossing(metric: Metric, points: Sequence[Point], seed: int, needed: float) -> float | None:
    """Where a seed's figure, made monotone by its best so far, first reaches a level."""
    sign = 1 if metric.maximise else -1
    best, previous, needed = -math.inf, None, sign * needed
    for point in points:
        figure = max(best, sign * point.figures[seed])
        if figure >= needed:
            if previous is None or not math.isfinite(best):
                return float(point.dim)
            share = (needed - best) / (figure - best)
            return float(previous * (point.dim / previous) ** share)
        best, previous = figure, point.dim
    return None
