"""How pictures are begun and written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from subspace import files


def new_figure(width: int | float = 10, height: int | float = 4) -> Any:
    """An empty figure of so many inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_figure(figure: Any, file: Path, title: str) -> None:
    """Writes a PNG, whole.

    Raises:
        OSError: it can't be written.
    """
    if title:
        figure.suptitle(plain(title))
    files.replace(file, png(figure, 120))


def png(figure: Any, dpi: int) -> bytes:
    """The picture."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def plain(text: str) -> str:
    """A text that a figure shows as it is: no formula, no characters that can't be drawn."""
    drawn = text.encode(errors="replace").decode()
    return "".join(c if c.isprintable() else "�" for c in drawn).replace("$", r"\$")
