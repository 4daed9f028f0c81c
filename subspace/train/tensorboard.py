"""Epochs' records as TensorBoard event files, through tensorboardX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from subspace.errors import InvalidInput
from subspace.train.callbacks import Callback

_SPLITS = ("train", "validation", "test")


def check_installed() -> None:
    """Raises InvalidInput if tensorboardX is missing."""
    try:
        import tensorboardX  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInput(
            "tensorboard", "needs tensorboardX: pip install 'subspace-jax[tensorboard]'"
        ) from None


@contextmanager
def events(folder: Path) -> Iterator[Callback]:
    """A callback that writes each metric over steps: ``validation_loss`` as loss/validation.

    Args:
        folder: of the event files, made with the first record; a resumed run adds a file.
    """
    with ExitStack() as stack:
        writers: list[Any] = []

        def write(record: dict[str, Any]) -> None:
            if not writers:  # not before the run has its folder, which has to be empty
                writers.append(stack.enter_context(_writer(folder)))
            for name, value in record.items():
                split, _, metric = name.partition("_")
                if split in _SPLITS and metric:
                    writers[0].add_scalar(f"{metric}/{split}", value, record["step"])
                elif name == "examples_per_second":
                    writers[0].add_scalar(name, value, record["step"])
            writers[0].flush()

        yield Callback(on_epoch=write)


def _writer(folder: Path) -> Any:
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    return SummaryWriter(str(folder))
