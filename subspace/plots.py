"""How pictures are begun and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def new_figure(width: int | float = 10, height: int | float = 4) -> Any:
    """An empty figure of so many inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_figure(figure: Any, file: Path, title: str) -> None:
    """Writes a PNG, whole."""
    if title:
        figure.suptitle(title)
    temporary = file.with_name(f".{file.name}.part")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(file)
