"""What is odd about a phase that has ended, in sentences with a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_FAILING = 5  # searches in a row that found nothing
_TIMES, _MORE = 2.0, 0.1  # than the loss that the phase before it ended with


def remarks(end: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    """Of a phase's last record, and that of the phase before it."""
    method, failing = end["method"], end.get("failing", 0)
    if failing >= _FAILING:
        yield (
            f"{method} stood still: its last {failing} line searches found no lower loss; use a "
            "larger --batch-size, or another method from here on"
        )
    if before is not None and end["train_loss"] > _TIMES * before["train_loss"] + _MORE:
        yield (
            f"{method} ended with a training loss of {end['train_loss']:.4g}, and "
            f"{before['method']} before it with {before['train_loss']:.4g}; give it more epochs or "
            "another learning rate, or leave it out"
        )
