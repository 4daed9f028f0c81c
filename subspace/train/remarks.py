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
    if before is None:
        return
    # a training loss is the mean of an epoch, and that of a short phase is of how it began
    held_out = "validation_loss" in end and "validation_loss" in before
    split = "validation" if held_out else "training"
    now, then = (one["validation_loss" if held_out else "train_loss"] for one in (end, before))
    if now > _TIMES * then + _MORE:
        yield (
            f"{method} ended with a {split} loss of {now:.4g}, and {before['method']} before it "
            f"with {then:.4g}; give it more epochs or another learning rate, or leave it out"
        )
