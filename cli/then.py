"""``--then METHOD[:key=value,...]``: the text of a phase, read."""

from __future__ import annotations

from typing import Any

_SHORT = {"lr": "learning_rate"}


def read_phase(text: str) -> dict[str, Any]:
    """The fields of a phase, ``method`` among them.

    A comma without a key after it belongs to the value before it: ``milestones=30,50,lr=1``. Keys
    that there aren't stay, for the library to say which there are.

    Raises:
        InvalidInput: something isn't ``key=value``, or a value can't be read.
    """
    from subspace.config.phase import fields_of_phase
    from subspace.errors import InvalidInput
    from subspace.methods import METHODS
    from subspace.options import read

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
    known = fields_of_phase(METHODS[method.strip()]) if method.strip() in METHODS else {}
    for key, value in pairs:
        name = _SHORT.get(key, key)
        if name in fields:
            raise InvalidInput("then", f"{key} stands twice in {text!r}")
        try:
            fields[name] = read(known[name], value) if name in known else value
        except InvalidInput as error:
            raise InvalidInput("then", f"{method}: {key}: {error.reason}") from None
    return fields
