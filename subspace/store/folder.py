"""The run folder: config.json, metrics.jsonl, summary.json, pictures, samples, checkpoints."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from subspace.config.run import MAY_CHANGE, SHARED, RunConfig
from subspace.errors import InvalidInput


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

    def keep_source_rows(self, rows: np.ndarray | None) -> None:
        """Copies the trajectory of the run that this one goes on from, which may change or go."""
        if rows is not None and self.writes:
            np.asarray(rows).tofile(self.trajectory_file(-1, half=rows.dtype == np.float16))

    def create(self, config: RunConfig) -> None:
        """Makes the folder and writes the configuration.

        Raises:
            InvalidInput: it is a file, holds something, or can't be written.
        """
        if not self.writes:
            return
        self.check_free()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.config_file, config.to_json())
        except OSError as error:
            raise InvalidInput("out", f"can't write to {self.path}: {error.strerror}") from None

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
            if any(self.path.iterdir()):
                raise InvalidInput("out", f"{self.path} is not empty; choose another folder")
        elif os.path.lexists(self.path):
            raise InvalidInput("out", f"{self.path} is a file; choose a folder")

    def read_config(self, field: str = "resume") -> RunConfig:
        """The configuration of the run here.

        Raises:
            InvalidInput: there is none, or it is damaged.
        """
        if not self.path.is_dir():
            raise InvalidInput(field, f"there is no run in {self.path}")
        try:
            record = json.loads(self.config_file.read_text())
        except FileNotFoundError:
            raise InvalidInput(field, f"{self.path} holds no run (no config.json)") from None
        except (OSError, ValueError):
            raise InvalidInput(field, f"{self.config_file} is damaged") from None
        if not isinstance(record, dict):
            raise InvalidInput(field, f"{self.config_file} is damaged")
        try:
            return RunConfig.from_json(record)
        except (InvalidInput, TypeError) as error:  # TypeError: a value of another type
            raise InvalidInput(field, f"{self.config_file} is damaged: {error}") from None

    def check_checkpoints(self, field: str = "resume") -> None:
        """Raises InvalidInput if there are none, without creating a place for them."""
        if not (self.checkpoints.is_dir() and any(self.checkpoints.iterdir())):
            raise InvalidInput(field, f"{self.path} has no checkpoint; start it again elsewhere")

    def check_resumable(self, config: RunConfig) -> None:
        """Raises InvalidInput if there is nothing to continue, or it is past the last epoch."""
        self.check_checkpoints()
        records = self.records()
        if records and records[-1]["epoch"] > config.epochs:
            done = records[-1]["epoch"]
            raise InvalidInput("epochs", f"the run has had {done} epochs; use at least as many")

    def append(self, record: dict[str, Any]) -> None:
        self._append(self.metrics_file, record)

    def append_diagnostics(self, record: dict[str, Any]) -> None:
        self._append(self.diagnostics_file, record)

    def _append(self, path: Path, record: dict[str, Any]) -> None:
        if not self.writes:
            return
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()

    def rewrite(self, config: RunConfig, step: int) -> None:
        """Prepares for a resumed run: its configuration, and no records after ``step``."""
        if not self.writes:
            return
        write_json(self.config_file, config.to_json())
        _rewrite(self.metrics_file, [r for r in self.records() if r["step"] <= step])
        if self.diagnostics_file.exists():
            _rewrite(self.diagnostics_file, [r for r in self.diagnostics() if r["step"] < step])

    def records(self) -> list[dict[str, Any]]:
        """The epochs' records; a line cut short by a crash is left out."""
        return _read_lines(self.metrics_file, {"epoch", "step"})

    def diagnostics(self) -> list[dict[str, Any]]:
        """Measurements of some steps, by the number of steps before each."""
        return _read_lines(self.diagnostics_file, {"step", "cosine"})

    def summary(self) -> dict[str, Any]:
        """What `write_json` put into summary.json.

        Raises:
            InvalidInput: the run isn't finished, or the file is damaged.
        """
        if not self.path.is_dir():
            raise InvalidInput("run", f"there is no run in {self.path}")
        try:
            summary = json.loads(self.summary_file.read_text())
        except FileNotFoundError:
            raise InvalidInput(
                "run", f"{self.path} holds no finished run; finish it with --resume"
            ) from None
        except (OSError, ValueError):
            raise InvalidInput("run", f"{self.summary_file} is damaged") from None
        if not isinstance(summary, dict):
            raise InvalidInput("run", f"{self.summary_file} is damaged")
        return summary


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
            raise InvalidInput(name, f"the run to resume has {have}, not {value}; leave it out")
        changes[name] = value
    if "epochs" in changes:
        schedule = replace(first.schedule, epochs=changes.pop("epochs"))
        changes["phases"] = (replace(first, schedule=schedule),)
    return replace(stored, **changes)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replaces a file as a whole."""
    replace_text(path, json.dumps(record, indent=2) + "\n")


def _read_lines(path: Path, needed: set[str]) -> list[dict[str, Any]]:
    """The records in a file that are whole."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.keys() >= needed:
            records.append(record)
    return records


def _rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    replace_text(path, "".join(json.dumps(record) + "\n" for record in records))


def replace_text(path: Path, text: str) -> None:
    """Replaces a file as a whole."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Replaces a file as a whole, or leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def check_new_file(path: Path, suffix: str) -> None:
    """Raises InvalidInput, of ``out``, unless such a file can be made there."""
    if path.suffix != suffix:
        raise InvalidInput("out", f"{path} must end in {suffix}")
    if path.exists():
        raise InvalidInput("out", f"{path} is there already; choose another name")
    if not path.parent.is_dir():
        raise InvalidInput("out", f"there is no folder {path.parent}; make it first")
