"""When a phase may end: once the held-out loss has stopped falling."""

from __future__ import annotations

from collections.abc import Sequence

_PATIENCE = 2  # looks in a row without a better loss
_BETTER = 0.005  # of the best loss, that a look must be below it to count


def steps_between_looks(held_out: int, batch_size: int) -> int:
    """So many that a look, a forward pass each, costs at most a third of the steps between."""
    return max(1, -(-held_out // batch_size))


def is_flat(losses: Sequence[float]) -> bool:
    """Whether the newest of the held-out losses of a phase are no better than those before them."""
    if len(losses) <= _PATIENCE:
        return False
    best = min(losses[:-_PATIENCE])
    return min(losses[-_PATIENCE:]) > best - _BETTER * abs(best)


def stalls(losses: Sequence[float], patience: int | None) -> bool:
    """Whether so many epochs have had no better held-out loss than those before; None for never."""
    if patience is None or len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])
