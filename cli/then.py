"""``--then METHOD[:key=value,...]``: the text of a phase, read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import typer

from . import values

_SHORT = {"lr": "learning_rate"}
_READ: dict[str, Callable[[str], Any]] = {
    "dim": values.dimension,
    "milestones": values.milestones,
    "sample_every": values.sampling,
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_phase(text: str) -> dict[str, Any]:
    """The fields of a phase, ``method`` among them.

    A comma without a key after it belongs to the value before it: ``milestones=30,50,lr=1``. Keys
    that there aren't stay, for the library to say which there are.

    Raises:
        InvalidInput: something isn't ``key=value``, or a value can't be read.
    """
    from subspace.errors import InvalidInput

    method, _, rest = text.partition(":")
    pairs: list[list[str]] = []
    for word in rest.split(",") if rest else []:
        key, equals, value = word.partition("=")
        if equals:
            pairs.append([key.strip().replace("-", "_"), value.strip()])
        elif pairs:
            pairs[-1][1] += f",{word}"
        else:
            raise InvalidInput("then", f"{word!r} in {text!r} is not key=value")
    fields: dict[str, Any] = {"method": method.strip()}
    for key, value in pairs:
        name = _SHORT.get(key, key)
        if name in fields:
            raise InvalidInput("then", f"{key} stands twice in {text!r}")
        try:
            fields[name] = _reader(name)(value)
        except (ValueError, KeyError, typer.BadParameter):
            raise InvalidInput("then", f"{method}: can't read {key}={value}") from None
    return fields


def _reader(name: str) -> Callable[[str], Any]:
    """How a field of a phase is read, by its type."""
    from subspace.config.phase import Phase

    kind = get_type_hints(Phase).get(name, str)
    kinds = [kind for kind in get_args(kind) or (kind,) if kind is not type(None)]
    if name in _READ:
        return _READ[name]
    return {int: int, float: float, bool: lambda word: _TRUTH[word.lower()]}.get(kinds[0], str)
