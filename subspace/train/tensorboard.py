"""Epochs' records as TensorBoard event files, through tensorboardX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from subspace.errors import InvalidInput


def check_installed() -> None:
    """Raises InvalidInput if tensorboardX is missing."""
    try:
        import tensorboardX  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInput(
            "tensorboard", "needs tensorboardX: pip install 'subspace-jax[tensorboard]'"
        ) from None


@contextmanager
def events(folder: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A place for records, each field a scalar over steps: ``validation_loss`` as loss/validation.

    Args:
        folder: of the event files; a resumed run adds a file.

    Example:
        >>> with events(Path("runs/rbd/tensorboard")) as write:
        ...     write({"step": 10, "train_loss": 0.5})
    """
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    with SummaryWriter(str(folder)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                split, _, quantity = name.partition("_")
                if quantity in ("loss", "accuracy"):
                    writer.add_scalar(f"{quantity}/{split}", value, record["step"])
                elif name == "examples_per_second":
                    writer.add_scalar(name, value, record["step"])
            writer.flush()

        yield write
