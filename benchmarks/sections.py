"""Tables of steps, each measured in turns with the first, within a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import measure
from steps import Program


class Rounds(NamedTuple):
    """How long to measure: see `measure.both_clocks`."""

    repeats: int = 15
    seconds: float = 0.05
    limit: float = 3.0


class Case(NamedTuple):
    """One line.

    Attributes:
        make: compiles it.
        skip: why it is left out, if it is.
        note: what there is to say of it once it was measured.
    """

    name: str
    make: Callable[[], Program]
    skip: str = ""
    note: Callable[[Program], str] = lambda program: ""


class Section:
    """A table: its first case is what the others are measured against, one after another.

    "ms" are medians; ratios are those within a round, their median, lowest and highest; the "CPU"
    columns are the least time of all cores, and what it is over the first case's.

    Attributes:
        title: says what steps these are, and D.
        unit: bytes; the memory that a step needs beside its arguments is counted in it.
    """

    def __init__(self, title: str, unit: float, cases: list[Case], rounds: Rounds):
        self.title, self._unit, self._rounds = title, unit, rounds
        self._first, *self._others = cases

    @property
    def columns(self) -> tuple[str, ...]:
        over = f"over {self._first.name}"
        clock = ("ms", over, "lowest", "highest", "rounds", "CPU ms", f"CPU {over}")
        return ("case", *clock, "temporary, × 4D bytes", "compilation, s", "note")

    def rows(self, end: float) -> Iterator[dict[str, Any]]:
        """A line for each case, whatever happens to it; none begins after ``end``."""
        seen = False
        for case in self._others:
            skip = case.skip or ("" if time.perf_counter() < end else "the time is up")
            if skip:
                yield {"case": case.name, "note": f"not measured: {skip}"}
                continue
            try:
                program = case.make()
                figures = measure.both_clocks({"own": program, "base": self._base}, *self._rounds)
            except Exception as error:  # out of memory, or what a compiler can't do
                yield {"case": case.name, "note": f"failed: {_reason(error)}"}
                continue
            if not seen:
                yield self._row(self._first, self._base, figures["base"], figures["base"])
            seen = True
            yield self._row(case, program, figures["own"], figures["base"])
        if not seen:
            yield {"case": self._first.name, "note": "not measured: no other case was"}

    @cached_property
    def _base(self) -> Program:
        return self._first.make()

    def _row(
        self, case: Case, program: Program, own: measure.Figures, base: measure.Figures
    ) -> dict[str, Any]:
        clock = (1e3 * statistics.median(own.wall), *measure.ratio(own.wall, base.wall))
        cpu = (1e3 * min(own.cpu), min(own.cpu) / min(base.cpu))
        costs = (program.temporary / self._unit, program.seconds, case.note(program))
        cells = (case.name, *clock, len(own.wall), *cpu, *costs)
        return dict(zip(self.columns, cells, strict=True))


def _reason(error: Exception) -> str:
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    return first[:150].replace("|", " ")
