"""The learning rate of a run, chosen by its loss on images that were held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspace import files
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.options import check, option
from subspace.plots import new_figure, write_figure
from subspace.store import tuned
from subspace.study.cell import Cell, Result, slug
from subspace.study.folder import Study, StudyCallback
from subspace.study.table import Table, metric_of
from subspace.tasks import Metric

STRATEGIES = ("halving", "grid")
HELD_OUT = 0.25
"""Of the training split, as in the RBD paper."""
_KEPT = 3  # one of so many learning rates goes on, for as many times the epochs


@dataclass(frozen=True)
class Search:
    """How a learning rate is looked for.

    Attributes:
        low, high: exponents of the smallest and largest power of two; the paper's -19 and 7.
        epochs: of the longest runs.
        strategy: ``"halving"``: every rate is tried for a few epochs, the best third of them for
            three times as many, and so on (successive halving, Jamieson & Talwalkar 2016);
            ``"grid"``: every one for all the epochs.
    """

    low: int = option(-19, "Smallest exponent.", least=-126, most=127)
    high: int = option(7, "Largest exponent.", least=-126, most=127)
    epochs: int = option(9, "Of the longest runs.", least=1)
    strategy: str = option("halving", "Who goes on.", choices=STRATEGIES)

    def __post_init__(self):
        check(self)
        if self.low > self.high:
            raise InvalidInput("low", f"{self.low} is above the highest exponent, {self.high}")

    def rungs(self) -> list[int]:
        """Epochs of each round."""
        if self.strategy == "grid":
            return [self.epochs]
        count = 1 + math.ceil(math.log(self.high - self.low + 1, _KEPT))
        rungs = [max(1, self.epochs // _KEPT**i) for i in range(count)]
        return sorted(set(rungs))


def tune(
    given: Mapping[str, Any],
    search: Search,
    out: Path,
    callback: StudyCallback = StudyCallback(),
    file: Path = tuned.FILE,
) -> tuple[float, Table]:
    """The power of two with the lowest held-out loss, and the table of all that were tried.

    Keeps it where later runs find it, see `subspace.store.tuned`; writes ``table.md``,
    ``table.csv`` and ``figure.png`` to ``out``.

    Args:
        given: fields of the run, as for `RunConfig.resolve`; the learning rate is left to this.
        search: what to try.
        out: folder of the runs; those that it holds are not made again.

    Raises:
        InvalidInput: the method has no learning rate, a field can't be used, every run diverged,
            or the folder is in use.
        Stopped: the callback asked for it.
    """
    given = {"validation": HELD_OUT} | {k: v for k, v in given.items() if v is not None}
    config = RunConfig.resolve(given)
    if config.phases[0].learning_rate is None:
        raise InvalidInput("method", f"{config.methods} has no learning rate to tune")
    if not config.validation:
        raise InvalidInput("validation", "must be above 0: held-out examples choose the rate")
    with Study(out, callback) as study:
        rounds = _rounds(study, given, search)
        best = rounds[-1][0]
        if best.summary is None:
            raise InvalidInput(
                "low", f"every run diverged; try below 2^{search.low}, or another model"
            )
        rate = float(best.cell.given["learning_rate"])
        table = _table(config, rounds, search, rate)
        _keep(out, table, rounds, config)
        tuned.remember(config, {"learning_rate": rate, **_figures(best), "study": str(out)}, file)
    return rate, table


def _rounds(study: Study, given: Mapping[str, Any], search: Search) -> list[list[Result]]:
    """Each round's results, the best first."""
    rates = [2.0**k for k in range(search.high, search.low - 1, -1)]
    rounds: list[list[Result]] = []
    rungs = search.rungs()
    for epochs in rungs:
        cells = [_cell(given, rate, epochs) for rate in rates]
        found = sorted(study.make(cells), key=held_out_loss)
        rounds.append(found)
        best = [float(result.cell.given["learning_rate"]) for result in found]
        rates = sorted(best[: math.ceil(len(best) / _KEPT)], reverse=True)
    return rounds


def _cell(given: Mapping[str, Any], rate: float, epochs: int) -> Cell:
    fields = {**given, "learning_rate": rate, "epochs": epochs, "checkpoint_every": epochs}
    return Cell(slug(f"e{epochs}", f"lr=2^{round(math.log2(rate))}"), fields)


def held_out_loss(result: Result) -> float:
    """After the last epoch; infinite if the run diverged."""
    loss = result.summary["validation_loss"] if result.summary else None
    return math.inf if loss is None or math.isnan(loss) else float(loss)


def _figures(result: Result) -> dict[str, Any]:
    summary = result.summary or {}
    names = ["epochs", "validation_loss"]
    names += [f"validation_{Metric(*one).name}" for one in summary.get("metrics", [])[:1]]
    return {name: summary.get(name) for name in names}


def _table(
    config: RunConfig, rounds: Sequence[Sequence[Result]], search: Search, rate: float
) -> Table:
    rows = []
    metric = metric_of([result for found in rounds for result in found])
    for found in reversed(rounds):
        for result in found:
            figures, given = _figures(result), result.cell.given
            loss, other = figures["validation_loss"], figures.get(f"validation_{metric.name}")
            texts = ("diverged", "–") if loss is None else (f"{loss:.4f}", metric.show(other))
            rows.append([f"{given['learning_rate']:g}", str(given["epochs"]), *texts])
    title = f"tune: {config.methods} on {config.model}, {config.dataset}"
    held_out = f"{config.validation:.0%} of the training examples"
    notes = [f"Chosen: {rate:g}, by the loss on {held_out}."]
    exponent = round(math.log2(rate))
    if exponent in (search.low, search.high) and search.low < search.high:
        notes.append("It lies at the end of what was tried; look further there.")
    return Table(
        title, ["lr", "epochs", "held-out loss", metric.name.replace("_", " ")], rows, notes
    )


def _keep(out: Path, table: Table, rounds: Sequence[Sequence[Result]], config: RunConfig) -> None:
    figure = new_figure(6, 4)
    panel = figure.add_subplot()
    for found in rounds:
        points = sorted(
            (float(result.cell.given["learning_rate"]), held_out_loss(result)) for result in found
        )
        points = [point for point in points if math.isfinite(point[1])]
        epochs = found[0].cell.given["epochs"]
        label = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        panel.plot([x for x, _ in points], [y for _, y in points], "o-", label=label)
    panel.set_xscale("log", base=2)
    panel.set_xlabel("learning rate")
    panel.set_ylabel("held-out loss")
    panel.set_yscale("log")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    write_figure(figure, out / "figure.png", table.title)
    files.write_record(out / "plan.json", tuned.settings(config))
    table.write(out)
