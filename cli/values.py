"""Options whose values are of more than one type, or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


def dimension(text: str) -> Any:
    """A number of directions, or a fraction of the variance."""
    return _read(text, _dimension, "an integer, or a fraction between 0 and 1")


def milestones(text: str) -> Any:
    """Epochs, as in ``100,150``; none for an empty text."""
    return _read(text, lambda words: tuple(map(int, filter(None, words.split(",")))), "epochs")


def numbers(text: str) -> Any:
    """Whole numbers, as in ``10,100``."""
    return _read(text, lambda words: tuple(map(int, words.split(","))), "whole numbers")


def sampling(text: str) -> Any:
    """``epoch``, or a number of steps."""
    return _read(text, lambda word: word if word == "epoch" else int(word), "epoch or an integer")


def names(text: str) -> Any:
    """Names, as in ``mnist,fashion_mnist``."""
    found = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not found:
        raise typer.BadParameter("name at least one")
    return found


def _dimension(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        fraction = float(word)
        if not 0 < fraction < 1:
            raise
        return fraction


def _read(text: str, read: Callable[[str], Any], what: str) -> Any:
    try:
        return read(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {what}") from None
