"""The loss along random directions, drawn: of a saved run, and for figure 2 of RBD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from subspace.data.dataset import take
from subspace.run.landscape import losses_along
from subspace.store.weights import Weights
from subspace.study.figure import band
from subspace.train.trainer import Trainer


class Along(NamedTuple):
    """The mean loss where directions of one kind meet, and at both ends of each."""

    here: float
    ends: Float[np.ndarray, "count 2"]

    @property
    def rise(self) -> float:
        """How much higher the ends are, in the mean."""
        return float(self.ends.mean() - self.here)


def landscape(
    panel: Any,
    trainer: Trainer,
    weights: Weights,
    bases: Sequence[str],
    distances: Float[np.ndarray, " places"],
    *,
    count: int,
    examples: int,
    seed: int = 0,
) -> dict[str, Along]:
    """Draws a band for each kind of directions, and returns what the tables say of it.

    Args:
        panel: Matplotlib's.
        trainer: of a run.
        weights: where from.
        bases: the kinds.
        distances: along each direction, as many behind as ahead; the middle one is 0.
        count: directions of each kind.
        examples: training examples at most.
        seed: of the directions.
    """
    split = trainer.dataset.train
    part = take(split, slice(examples))
    found = {}
    for name in bases:
        losses = losses_along(trainer, weights, part, name, distances, count, seed)
        band(panel, distances, losses, name)
        here = float(losses[:, len(distances) // 2].mean())
        found[name] = Along(here, losses[:, [0, -1]])
    return found
