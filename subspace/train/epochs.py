"""What is recorded of an epoch: figures of each split, cost, line searches."""

from __future__ import annotations

from typing import Any

from subspace.natural.scale_by_curvature import trace
from subspace.optim.linesearch import search_counts
from subspace.store.folder import RunFolder
from subspace.train.evaluate import mean_metrics, totals
from subspace.train.running import RunningPhase
from subspace.train.step import TrainState
from subspace.train.trainer import Trainer


class Epochs:
    """Makes the records of a run's epochs.

    Args:
        trainer: the pieces of the run.
        folder: that holds the records so far.
    """

    def __init__(self, trainer: Trainer, folder: RunFolder):
        self._trainer, self._folder = trainer, folder
        self._known: dict[int, tuple[float, int]] = {}

    def of(
        self, running: RunningPhase, state: TrainState, done: int, epoch: int, last: bool
    ) -> dict[str, Any]:
        """A record, but for its times.

        Args:
            running: the phase.
            state: after the epoch.
            done: steps, counted through the phases.
            epoch: of the run, from 0.
            last: whether it is the phase's last one.
        """
        index = running.place.index
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "phase": index + 1,
            "method": running.phase.method.name,
            "step": done,
        }
        figures = mean_metrics(self._trainer.task, [totals(state.meters)])
        record |= {f"train_{name}": value for name, value in figures.items()}
        if len(self._trainer.dataset.validation.targets):
            record |= self.figures(state, "validation")
        if last and index + 1 < len(self._trainer.phases):
            record |= self.figures(state, "test")
        counts = search_counts(state.opt_state)
        record["gradient_epochs"] = self._cost(
            running, state, done, 0 if counts is None else int(counts.trials)
        )
        if counts is not None:  # since the phase began
            record |= {"searches": int(counts.searches), "failed_searches": int(counts.failures)}
            record |= {"failing": int(counts.failing)} if counts.failing else {}
        return record | trace(state.opt_state)

    def figures(self, state: TrainState, split: str) -> dict[str, float]:
        """The metrics on a split, each named after it."""
        found = self._trainer.evaluate(state, getattr(self._trainer.dataset, split))
        return {f"{split}_{name}": value for name, value in found.items()}

    def _cost(self, running: RunningPhase, state: TrainState, done: int, trials: int) -> float:
        """What all phases so far have cost, see `RunningPhase.gradient_epochs`."""
        place, examples = running.place, len(self._trainer.dataset.train.targets)
        if place.index not in self._known:  # once a phase: it reads all records
            directions = running.dimensions(state.params)
            self._known[place.index] = self._cost_before(place.index), directions
        before, directions = self._known[place.index]
        steps = done - place.first_step
        return before + running.gradient_epochs(steps, trials, examples, directions)

    def _cost_before(self, index: int) -> float:
        """What the phases before one have cost."""
        earlier = [one for one in self._folder.records() if one["phase"] <= index]
        return earlier[-1].get("gradient_epochs", 0.0) if earlier else 0.0
