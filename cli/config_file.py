"""``--config FILE`` and ``--set KEY=VALUE``: what a run is, from elsewhere than its flags."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import declared_fields, field_of

if TYPE_CHECKING:
    from subspace.options import Field

_SHORT = {"lr": "learning_rate", "from": "source"}
_MOST = 1 << 24  # bytes


def read_config(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields of a run and its first phase, and those of each phase that follows.

    In TOML, YAML or JSON: keys are the names of options, ``method`` among them, with ``-`` or
    ``_``; ``then`` is a list of tables, a phase each. A run's own config.json is read too.

    Raises:
        InvalidInput: it can't be read, or holds what is no option.
    """
    from subspace.errors import InvalidInput

    record = load(file, "config")
    if "phases" in record:
        return _of_a_run(record)
    then = record.get("then", [])
    if not isinstance(then, list) or not all(isinstance(one, Mapping) for one in then):
        raise InvalidInput("config", "then: must be a list of tables, as [[then]] makes them")
    fields = {key: value for key, value in record.items() if key != "then"}
    return named(fields), [named(one) for one in then]


def load(file: Path, field: str) -> Mapping[str, Any]:
    """What a TOML, YAML or JSON file says, by its ending.

    Raises:
        InvalidInput: of ``field``: it can't be read.
    """
    from subspace import files
    from subspace.errors import InvalidInput

    content = files.read(file, field, most=_MOST)
    try:
        record = _parsed(file, content.decode())
    except (ValueError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InvalidInput(field, f"{file} is no {_kind(file)}: {first}") from None
    if not isinstance(record, Mapping):
        raise InvalidInput(field, f"{file} holds no options; write KEY = VALUE lines")
    return record


def read_settings(words: list[str]) -> dict[str, Any]:
    """``key=value`` each, as the options of that name are read.

    Raises:
        InvalidInput: a word isn't ``key=value``, or the key no option.
    """
    from subspace.errors import InvalidInput

    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidInput("set", f"{word!r} is not key=value")
        found |= named({key.strip(): text.strip()}, field="set")
    return found


def _kind(file: Path) -> str:
    return {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}.get(file.suffix, "TOML")


def _parsed(file: Path, text: str) -> Any:
    if _kind(file) == "JSON":
        return json.loads(text)
    if _kind(file) == "YAML":
        import yaml  # Orbax brings it

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    return tomllib.loads(text)


def _of_a_run(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's own configuration: all that it was, the workers too."""
    from subspace.config.run import RunConfig
    from subspace.errors import InvalidInput
    from subspace.options import values_of

    beside = ("made_with", "digest")  # which an edited copy need not match
    known = {key: value for key, value in record.items() if key not in beside}
    try:
        config = RunConfig.from_json(known)
    except InvalidInput as error:
        raise InvalidInput("config", error.reason) from None
    first, *others = [{"method": phase.method.name} | phase.values for phase in config.phases]
    return values_of(config) | first, others


def named(given: Mapping[str, Any], field: str = "config") -> dict[str, Any]:
    """By the names of the library, texts read as on the command line."""
    from subspace.errors import InvalidInput, nearest

    declared = declared_fields()
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _SHORT.get(str(key), str(key)).replace("-", "_")
        if name not in declared and name not in ("method", "preset"):
            hint = nearest(name, [*declared, "method", "preset", "then"])
            raise InvalidInput(field, f"{key} is no option of a run{hint}")
        if isinstance(value, list):
            value = tuple(value)
        if name in declared:
            value = _as_a_flag(field_of(name, declared[name]), value)
        found[name] = value
    return found


def _as_a_flag(field: Field, value: Any) -> Any:
    """A value of the type that the same text would have as a flag."""
    from subspace.options import read

    if isinstance(value, str):
        return read(field, value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in field.kinds and field.option.read is None else value
