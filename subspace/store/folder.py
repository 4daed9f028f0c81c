"""The run folder: config.json, metrics.jsonl, summary.json, pictures, samples, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from subspace import files
from subspace.config.run import MAY_CHANGE, SHARED, RunConfig
from subspace.errors import InvalidInput
from subspace.store.circumstances import check_same, circumstances, differences
from subspace.store.lock import Lock
from subspace.store.samples import write_rows

_MADE = "made_with"


class RunFolder:
    """Paths and files of one run. Files are replaced whole, or appended to line by line.

    Args:
        path: the folder.
        writes: False in a process that leaves writing to another: what writes then does nothing.
    """

    def __init__(self, path: Path, writes: bool = True):
        self.path = path
        self.writes = writes
        self.config_file = path / "config.json"
        self.metrics_file = path / "metrics.jsonl"
        self.summary_file = path / "summary.json"
        self.diagnostics_file = path / "diagnostics.jsonl"
        self.curve_file = path / "curve.png"
        self.variance_file = path / "variance.png"
        self.best_file = path / "best.safetensors"
        self.checkpoints = path / "checkpoints"

    def trajectory_file(self, index: int, half: bool | None = None) -> Path:
        """The samples of a phase, counted from 0; -1 for those of the run that it goes on from.

        In float32, or where they are ``half`` in float16; by default as they are there.
        """
        short, full = (self.path / f"trajectory-{index + 1}.f{bits}" for bits in (16, 32))
        half = short.exists() if half is None else half
        return short if half else full

    def coordinates_file(self, index: int) -> Path:
        """The coordinates of the steps of a phase, counted from 0."""
        return self.path / f"coordinates-{index + 1}.log"

    @contextmanager
    def writing(
        self, config: RunConfig | None = None, rows: np.ndarray | None = None
    ) -> Iterator[None]:
        """Within it this process alone writes here.

        Args:
            config: of a new run, for which the folder is made; None to go on with one.
            rows: the trajectory of the run that a new one goes on from, which may change or go.

        Raises:
            InvalidInput: the folder is in use, or can't be written; or of a new run: it holds
                something.
        """
        if not self.writes:
            yield
            return
        field = "resume" if config is None else "out"
        try:
            if config is not None:
                self.check_free()
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput("out", f"can't write to {self.path}: {error.strerror}") from None
        lock = Lock(self.path)
        lock.acquire(field)
        try:
            if config is not None:
                self._create(config, rows)
            yield
        finally:
            lock.release()

    def _create(self, config: RunConfig, rows: np.ndarray | None) -> None:
        self.check_free()  # again, as nobody else can now
        try:
            self._write_config(config, circumstances())  # from here on it can be resumed
            self.keep_source_rows(rows)
        except OSError as error:
            raise InvalidInput("out", f"can't write to {self.path}: {error.strerror}") from None

    def keep_source_rows(self, rows: np.ndarray | None) -> None:
        """Copies the trajectory of the run that this one goes on from."""
        if rows is not None and self.writes:
            write_rows(self.trajectory_file(-1, half=rows.dtype == np.float16), rows)

    def _write_config(self, config: RunConfig, made: dict[str, Any]) -> None:
        files.write_record(self.config_file, config.to_json() | {_MADE: made})

    def check_free(self) -> None:
        """Raises InvalidInput unless the folder is new or empty, as far as can be seen."""
        try:
            self._check_free()
        except OSError as error:  # such as a name that is too long
            raise InvalidInput("out", f"can't use {self.path}: {error.strerror}") from None

    def _check_free(self) -> None:
        if self.path.is_dir():
            if self.config_file.exists():
                raise InvalidInput(
                    "out", f"{self.path} holds a run; continue it with --resume or choose another"
                )
            if files.odd(os.listdir(self.path)):
                raise InvalidInput("out", f"{self.path} is not empty; choose another folder")
        elif os.path.lexists(self.path):
            raise InvalidInput("out", f"{self.path} is a file; choose a folder")

    def read_config(self, field: str = "resume") -> RunConfig:
        """The configuration of the run here.

        Raises:
            InvalidInput: there is none, or it is damaged.
        """
        record = self._read_config(field)
        record.pop(_MADE, None)
        try:
            return RunConfig.from_json(record)
        except (InvalidInput, TypeError) as error:  # TypeError: a value of another type
            raise InvalidInput(field, f"{self.config_file} is damaged: {error}") from None

    def made_with(self, field: str = "resume") -> dict[str, Any]:
        """The circumstances under which the run began."""
        made = self._read_config(field).get(_MADE)
        return made if isinstance(made, dict) else {}

    def _read_config(self, field: str) -> dict[str, Any]:
        if not self.path.is_dir():
            raise InvalidInput(field, f"there is no run in {self.path}")
        if not os.path.lexists(self.config_file):
            raise InvalidInput(field, f"{self.path} holds no run (no config.json)")
        return files.read_record(self.config_file, field)

    def has_checkpoint(self) -> bool:
        """Whether one was finished."""
        return self.checkpoints.is_dir() and any(
            entry.name.isdigit() for entry in self.checkpoints.iterdir()
        )

    def check_checkpoints(self, field: str) -> None:
        """Raises InvalidInput if there are none, without creating a place for them."""
        if not self.has_checkpoint():
            raise InvalidInput(field, f"{self.path} has no checkpoint; resume the run first")

    def check_resumable(self, config: RunConfig) -> list[str]:
        """What should be known of a run to go on with, in sentences.

        Raises:
            InvalidInput: it is past the last epoch, or would go on with other numbers.
        """
        made = self.made_with()
        check_same(made, "resume")
        records, damaged = self.read_records()
        if records and records[-1]["epoch"] > config.epochs:
            done = records[-1]["epoch"]
            raise InvalidInput("epochs", f"the run has had {done} epochs; use at least as many")
        remarks = [f"made with {one}: last bits may differ" for one in differences(made)]
        if damaged:
            lines = ", ".join(map(str, damaged))
            remarks.append(f"{self.metrics_file} is damaged, and left out: line {lines}")
        return remarks

    def append(self, record: dict[str, Any]) -> None:
        self._append(self.metrics_file, record)

    def append_diagnostics(self, record: dict[str, Any]) -> None:
        self._append(self.diagnostics_file, record)

    def _append(self, path: Path, record: dict[str, Any]) -> None:
        if self.writes:
            files.append(path, files.line(record).encode(), sync=False)

    def rewrite(self, config: RunConfig, step: int) -> None:
        """Prepares for a resumed run: its configuration, and no records after ``step``."""
        if not self.writes:
            return
        self._write_config(config, self.made_with())
        _rewrite(self.metrics_file, [r for r in self.records() if r["step"] <= step])
        if self.diagnostics_file.exists():
            _rewrite(self.diagnostics_file, [r for r in self.diagnostics() if r["step"] < step])

    def records(self) -> list[dict[str, Any]]:
        """The epochs' records; lines that are damaged are left out."""
        return self.read_records()[0]

    def read_records(self) -> tuple[list[dict[str, Any]], list[int]]:
        """The epochs' records, and the numbers of lines that are damaged."""
        return files.read_lines(self.metrics_file, "run")

    def diagnostics(self) -> list[dict[str, Any]]:
        """Measurements of some steps, by the number of steps before each."""
        return files.read_lines(self.diagnostics_file, "run")[0]

    def write_summary(self, summary: dict[str, Any]) -> None:
        files.write_record(self.summary_file, summary)

    def summary(self) -> dict[str, Any]:
        """What `write_summary` wrote.

        Raises:
            InvalidInput: the run isn't finished, or the file is damaged.
        """
        if not self.path.is_dir():
            raise InvalidInput("run", f"there is no run in {self.path}")
        if not os.path.lexists(self.summary_file):
            raise InvalidInput("run", f"{self.path} holds no finished run; finish it with --resume")
        return files.read_record(self.summary_file, "run")


def resume_config(stored: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The stored configuration with what may change changed.

    Raises:
        InvalidInput: something given differs from the run and can't change in the middle of it.
    """
    changes = {}
    first = stored.phases[0]
    if given.pop("preset", None) is not None:
        raise InvalidInput("preset", "the run to resume has its settings already; leave it out")
    for name, value in given.items():
        if name == "method":
            have = first.method.name
        else:
            have = getattr(stored, name) if name in SHARED else first.values.get(name)
        if value is None or value == have:
            continue
        if name == "epochs" and len(stored.phases) > 1:
            raise InvalidInput(
                name, "the run has several phases; let it finish, and go on from it with --from"
            )
        if name not in MAY_CHANGE:
            have = "none" if have is None else have
            raise InvalidInput(name, f"the run to resume has {have}, not {value}; leave it out")
        changes[name] = value
    if "epochs" in changes:
        shape = first.shaped_by_epochs
        if shape is not None:
            have = f"the {shape} of the run to resume ends after {first.epochs}"
            raise InvalidInput("epochs", f"{have}; go on from the finished run with --from")
        schedule = replace(first.schedule, epochs=changes.pop("epochs"))
        changes["phases"] = (replace(first, schedule=schedule),)
    return replace(stored, **changes)


def _rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    files.replace(path, "".join(map(files.line, records)).encode())
