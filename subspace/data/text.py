"""Text of one's own, as bytes in windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from subspace import files
from subspace.data.dataset import Dataset, Split, Wanted, check_division, divided
from subspace.errors import InvalidInput

BYTES = 256
_MOST = 1 << 33  # bytes of a text
_TEST = 10  # the last part of so many is for testing


def load_text(wanted: Wanted) -> Dataset:
    """A file of text in windows of ``context`` bytes; the last tenth of the text is for testing.

    Inputs are ``uint8 (N, context)``, targets the byte after each. Windows don't overlap.

    Raises:
        InvalidInput: no such file, or too short a text.
    """
    check_division(wanted)
    if wanted.path("file") is None:
        raise InvalidInput("dataset", f"{wanted.name!r} is no file:PATH, which language takes")
    file = Path(str(wanted.path("file"))).expanduser()
    text = np.frombuffer(files.read(file, "dataset", most=_MOST), np.uint8)
    cut = len(text) - len(text) // _TEST
    train, test = windows(text[:cut], wanted.context), windows(text[cut:], wanted.context)
    if len(train.inputs) < 2 or not len(test.inputs):
        least = _TEST * (wanted.context + 1)
        raise InvalidInput(
            "dataset",
            f"{file} has {len(text)} bytes; give at least {least}, or a smaller --context",
        )
    return divided(wanted.name, "1", BYTES, (train, test), wanted)


def windows(text: np.ndarray, context: int) -> Split:
    """Every ``context`` tokens of a text, and the token after each of them."""
    count = (len(text) - 1) // context
    used = text[: count * context + 1]
    return Split(used[:-1].reshape(count, context), used[1:].reshape(count, context))
