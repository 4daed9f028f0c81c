"""A folder of runs that is filled step by step, by one process at a time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from subspace import files, run
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.store.folder import RunFolder
from subspace.store.lock import Lock
from subspace.study.cell import Cell, Result
from subspace.train.callbacks import Callback, Diverged


@dataclass(frozen=True)
class StudyCallback:
    """Whom a study tells how it goes.

    Attributes:
        on_cells: called with how many runs there are and how many of them are finished.
        on_cell: called before each run.
        on_epoch: called with each epoch's record.
        on_result: called after each run with its result and its seconds.
        on_damaged: called with a file that can't be read, whose run is made again.
        on_warning: called with what else the user should know, in a sentence.
        should_stop: as in `Callback`.
    """

    on_cells: Callable[[int, int], None] = lambda total, done: None
    on_cell: Callable[[Cell], None] = lambda cell: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_result: Callable[[Result, float], None] = lambda result, seconds: None
    on_damaged: Callable[[Path], None] = lambda path: None
    on_warning: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


class Study:
    """Runs by name under a folder, each made once.

    A run that was finished is taken from ``cells/NAME.json``, one that was stopped goes on from its
    newest checkpoint in ``runs/NAME``.

    Examples:
        >>> with Study(Path("study")) as study:
        ...     results = study.make([Cell("rbd-0", {"method": "rbd", "epochs": 3})])

    Raises:
        InvalidInput: on entering, if the folder can't be written or another process is at it.
    """

    def __init__(self, path: Path, callback: StudyCallback = StudyCallback()):
        self.path, self.callback = path, callback
        self._lock: Lock | None = None

    def __enter__(self) -> Study:
        try:
            for folder in (self.path / "cells", self.path / "runs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput("out", f"can't write to {self.path}: {error.strerror}") from None
        lock = Lock(self.path)
        lock.acquire("out")
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def make(self, cells: Iterable[Cell]) -> list[Result]:
        """The results of some runs, of which those that are missing are made, in order.

        Raises:
            InvalidInput: a run was made with other settings, which is found before any is made; or
                one doesn't fit its data.
            Stopped: the callback asked for it.
        """
        cells = list(cells)
        configs = {cell.name: RunConfig.resolve(cell.given, cell.then) for cell in cells}
        have = {cell.name: self._finished(cell, configs[cell.name]) for cell in cells}
        self.callback.on_cells(len(cells), sum(result is not None for result in have.values()))
        return [have[cell.name] or self._make(cell, configs[cell.name]) for cell in cells]

    def folder(self, cell: Cell) -> RunFolder:
        return RunFolder(self.path / "runs" / cell.name)

    def _file(self, cell: Cell) -> Path:
        return self.path / "cells" / f"{cell.name}.json"

    def _finished(self, cell: Cell, config: RunConfig) -> Result | None:
        file = self._file(cell)
        if not os.path.lexists(file):
            return None
        try:
            record = files.read_record(file, "out")
            have, summary = RunConfig.from_json(record["config"]), record["summary"]
        except (InvalidInput, KeyError, TypeError):
            self.callback.on_damaged(file)
            return None
        self._check(cell, have, config)
        return Result(cell, self.folder(cell), summary)

    def _check(self, cell: Cell, have: RunConfig, want: RunConfig) -> None:
        """Raises InvalidInput if a run was made with other settings."""
        if replace(have, data_dir=None) != replace(want, data_dir=None):
            raise InvalidInput(
                "out",
                f"{self.path} holds {cell.name} with other settings; give the same ones as before, "
                "or choose another folder",
            )

    def _make(self, cell: Cell, config: RunConfig) -> Result:
        began = time.monotonic()
        folder = self.folder(cell)
        resume = self._can_go_on(cell, folder, config)
        self.callback.on_cell(cell)
        callback = Callback(on_epoch=self.callback.on_epoch, should_stop=self.callback.should_stop)
        try:
            run.execute(config, folder, resume=resume, callback=callback)
            summary = folder.summary()  # as it will be read another time
        except Diverged:
            summary = None
        files.write_record(self._file(cell), {"config": config.to_json(), "summary": summary})
        result = Result(cell, folder, summary)
        self.callback.on_result(result, time.monotonic() - began)
        return result

    def _can_go_on(self, cell: Cell, folder: RunFolder, config: RunConfig) -> bool:
        """Whether a run was stopped; what isn't one is deleted."""
        if not folder.path.exists():
            return False
        try:
            have = folder.read_config()
        except InvalidInput:
            shutil.rmtree(folder.path)
            return False
        self._check(cell, have, config)
        return True
