"""Which examples each worker holds, and which of them a step sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from subspace.data.dataset import Split
from subspace.errors import InvalidInput

_DIVISION = 0x736861726573  # "shares": draws of the seed's own


@dataclass(frozen=True, eq=False)
class Shares:
    """Examples divided among workers, of whom some take part in a round.

    Attributes:
        rows: (K, n), the examples of each worker.
        present: how many workers take part in a round.
    """

    rows: Int[np.ndarray, "k n"]
    present: int

    def order(self, steps: int, batch: int, rounds: int, seeds: tuple[int, ...]) -> np.ndarray:
        """An epoch's examples in order, int32 (steps × batch,), worker by worker in each batch.

        Each worker goes through its own examples, anew when it has seen them all. Who takes part
        is drawn for every ``rounds`` steps.
        """
        rng = np.random.default_rng(seeds)
        workers, held = self.rows.shape
        own = rng.permuted(self.rows, axis=1)
        seen = np.zeros(workers, np.int64)
        share = batch // self.present
        chosen = np.empty((steps, self.present, share), np.int32)
        there = np.arange(workers)
        for step in range(steps):
            if self.present < workers and step % rounds == 0:
                there = rng.choice(workers, self.present, replace=False)
            places = (seen[there, None] + np.arange(share)) % held
            chosen[step] = own[there[:, None], places]
            seen[there] += share
        return chosen.ravel()


def divide(split: Split, workers: int, present: int, skew: int | float | None, seed: int) -> Shares:
    """Equally many examples for each worker, by a seed.

    Args:
        split: the training split.
        workers: K.
        present: how many take part in a round.
        skew: α; the classes that a worker holds are in proportions from a Dirichlet distribution
            with α for each class, as far as there are examples left: about one class each near 0,
            all alike for a large α. None divides at random.
        seed: of the run.

    Raises:
        InvalidInput: fewer examples than workers, or what is to be skewed has no classes.
    """
    targets = np.asarray(split.targets)
    held = len(targets) // workers
    if not held:
        raise InvalidInput(
            "workers", f"{workers} can't hold a share each of {len(targets)} examples; use fewer"
        )
    rng = np.random.default_rng((seed, _DIVISION))
    shuffled = rng.permutation(len(targets))
    if skew is None:
        return Shares(shuffled[: workers * held].reshape(workers, held), present)
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise InvalidInput("skew", "goes with examples that have classes; leave it out")
    of_class = [shuffled[targets[shuffled] == c].tolist() for c in np.unique(targets)]
    rows = [_taken(of_class, held, skew, rng) for _ in range(workers)]
    return Shares(np.asarray(rows), present)


def _taken(
    of_class: list[list[int]], count: int, skew: int | float, rng: np.random.Generator
) -> list[int]:
    """A worker's examples, taken from those that are left."""
    wanted = rng.dirichlet(np.full(len(of_class), skew))
    found: list[int] = []
    while len(found) < count:
        left = np.asarray([len(rows) for rows in of_class])
        odds = np.where(left > 0, wanted, 0.0)
        odds = left / left.sum() if odds.sum() < 1e-12 else odds / odds.sum()
        for rows, drawn in zip(of_class, rng.multinomial(count - len(found), odds), strict=True):
            taken = min(drawn, len(rows))
            found += rows[len(rows) - taken :]
            del rows[len(rows) - taken :]
    return found
