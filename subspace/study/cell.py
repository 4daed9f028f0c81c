"""One run of a study, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from subspace.store.folder import RunFolder

MOST_SEEDS = 1000
"""Runs of a kind."""


@dataclass(frozen=True)
class Cell:
    """A run to be made.

    Attributes:
        name: of its files; unique in the study.
        given: as for `subspace.run.request`.
        then: as there.
        labels: what it stands for, such as ``{"method": "rbd", "dataset": "mnist"}``; cells that
            differ in their seed alone have the same.
    """

    name: str
    given: Mapping[str, Any]
    then: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)


class Result(NamedTuple):
    """A run that was made; of one that diverged the summary is None."""

    cell: Cell
    folder: RunFolder
    summary: dict[str, Any] | None


def slug(*words: Any) -> str:
    """A file name of some words."""
    text = "-".join(str(word) for word in words)
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in text)
