"""Learning rates that `subspace.study.tune` has found, kept for later runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from subspace import distributed, files
from subspace.config.phase import fields_of_phase
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput

FILE = Path("runs") / "tuned.json"
"""Where they are looked for, beneath the working directory."""


class TunedRate(NamedTuple):
    """A learning rate, None without one that fits, and what to tell the user."""

    learning_rate: float | None
    warnings: tuple[str, ...] = ()


def settings(config: RunConfig) -> dict[str, Any]:
    """What a tuned rate depends on: the task, and the first phase but for how long it goes."""
    phase = config.phases[0]
    moves = {
        name: one.option.moves_rate for name, one in fields_of_phase(type(phase.method)).items()
    }
    record = {name: value for name, value in phase.to_json().items() if moves.get(name, True)}
    return {name: getattr(config, name) for name in _TASK} | {"phase": record}


_TASK = ("task", "model", "dataset", "augment", "label_noise")


def remember(config: RunConfig, figures: Mapping[str, Any], file: Path = FILE) -> None:
    """Keeps ``figures``, ``learning_rate`` among them, in place of older ones for such a run.

    Raises:
        InvalidInput: the file is damaged, or can't be written.
    """
    entry = {"settings": settings(config), "version": _version(), **figures}
    kept = [one for one in _entries(file) if one["settings"] != entry["settings"]]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_record(file, {"entries": [*kept, entry]})
    except OSError as error:
        raise InvalidInput("out", f"can't write {file}: {error.strerror}") from None


def find(given: Mapping[str, Any], file: Path = FILE) -> TunedRate:
    """The learning rate for a run that doesn't say one.

    A rate of another version of this package, or one for the method on another model only, is left
    alone with a warning; so is a damaged file. Of several processes the first one reads.

    Args:
        given: as for `RunConfig.resolve`.

    Raises:
        InvalidInput: as `RunConfig.resolve`.
    """
    if given.get("learning_rate") is not None or given.get("source"):
        return TunedRate(None)
    wanted = settings(RunConfig.resolve(given))
    found = _found(wanted, file) if distributed.is_main() else TunedRate(None)
    rate, warnings = json.loads(distributed.agreed(json.dumps(found)))
    return TunedRate(rate, tuple(warnings))


def _found(wanted: dict[str, Any], file: Path) -> TunedRate:
    try:
        entries = _entries(file)
    except InvalidInput as error:
        return TunedRate(None, (str(error),))
    for entry in entries:
        if entry["settings"] == wanted and entry["version"] == _version():
            return TunedRate(float(entry["learning_rate"]))
    for entry in entries:
        if entry["settings"] == wanted:
            made = f"version {entry['version']}, and this is {_version()}"
            return TunedRate(None, (f"{file}: the learning rate tuned for this run is of {made}",))
        if entry["settings"] | {"model": wanted["model"]} == wanted:
            other = entry["settings"]["model"]
            what = f"the learning rate of {wanted['phase']['method']} was tuned on {other}"
            return TunedRate(None, (f"{file}: {what}, not on {wanted['model']}",))
    return TunedRate(None)


def _entries(file: Path) -> list[dict[str, Any]]:
    if not os.path.lexists(file):
        return []
    try:
        entries = files.read_record(file, "out")["entries"]
        whole = all(entry.keys() >= {"settings", "version", "learning_rate"} for entry in entries)
        whole = whole and all(entry["settings"]["phase"]["method"] for entry in entries)
    except (InvalidInput, KeyError, TypeError, AttributeError):
        whole, entries = False, []
    if not whole:
        raise InvalidInput("out", f"{file} is damaged; delete it, and tune again")
    return entries


def _version() -> str:
    try:
        return metadata.version("subspace-jax")
    except metadata.PackageNotFoundError:
        return "unknown"
