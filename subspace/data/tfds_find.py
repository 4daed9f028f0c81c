"""Find a prepared TensorFlow Datasets set on disk, or say what is there instead."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

from subspace import files
from subspace.data.tfds_prepare import one_line, quiet
from subspace.errors import InvalidInput


def directory(data_dir: str | os.PathLike[str]) -> Path:
    """The TFDS directory that a caller named.

    Raises:
        InvalidInput: if there is no such directory, or it is a dataset's own.
    """
    text = os.path.expanduser(data_dir) if isinstance(data_dir, str | os.PathLike) else ""
    if not os.path.isdir(text):
        fault = "isn't a directory" if os.path.exists(text) else "doesn't exist"
        reason = f"{str(data_dir)!r} {fault}; pass one that holds prepared TFDS datasets"
        raise InvalidInput("data_dir", reason)
    path = Path(text)
    if (path / "dataset_info.json").is_file() or any(path.glob("*/dataset_info.json")):
        reason = f"{str(path)!r} is a dataset's own directory; pass the one that holds it"
        raise InvalidInput("data_dir", reason)
    return path


def on_disk(name: str, root: Path | None) -> Any | None:
    """The builder of a prepared dataset, or ``None`` if it isn't there.

    Args:
        name: ``name[/config][:version]``.
        root: a TFDS directory; ``None`` is TFDS's own.

    Raises:
        InvalidInput: if it is there and its metadata is damaged.
    """
    if root is not None:
        for file in sorted((root / _base(name)).rglob("*.json")):
            files.size_of(file, "data_dir")  # TFDS would wait for a pipe
    with quiet():
        from tensorflow_datasets.core import read_only_builder, registered

        try:
            # From the files alone: a builder's own code may import TensorFlow.
            return read_only_builder.builder_from_files(name, data_dir=root)
        except registered.DatasetNotFoundError:
            return None
        except Exception as error:  # damaged metadata surfaces as JSON, protobuf or OS errors
            raise unreadable(name, error) from error


def missing(name: str, root: Path | None) -> InvalidInput | None:
    """Why a dataset that isn't on disk can't be had either, or ``None`` if TFDS can fetch it."""
    with quiet():
        import tensorflow_datasets as tfds

        known = set(tfds.list_builders(with_community_datasets=False))
    held = [] if root is None else _holdings(root)
    base, here = _base(name), {_base(entry) for entry in held}
    if base not in known | here:
        near = difflib.get_close_matches(base, sorted(known | here | {"digits"}), n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `subspace list`"
        return InvalidInput("dataset", f"there is no dataset {base!r}{_holds(root, held)}; {hint}")
    if root is None:
        return None
    remedies = ["choose one of those"] if held else []
    remedies += ["leave data_dir out to download it"] if base in known else []
    where = f"{name!r} isn't prepared{_holds(root, held)}"
    return InvalidInput("data_dir", f"{where}; {', or '.join(remedies)}")


def _base(name: str) -> str:
    return re.split("[/:]", name)[0]


def _holdings(root: Path) -> list[str]:
    """The prepared datasets of a TFDS directory, as ``name[/config]:version``."""
    try:
        found = [*root.glob("*/*/features.json"), *root.glob("*/*/*/features.json")]
    except OSError as error:
        raise InvalidInput(
            "data_dir", f"{str(root)!r} can't be read ({error.strerror}); check its permissions"
        ) from error
    whole = (path.parent for path in found if (path.parent / "dataset_info.json").is_file())
    folders = sorted(folder.relative_to(root) for folder in whole)
    return [f"{folder.parent.as_posix()}:{folder.name}" for folder in folders]


def _holds(root: Path | None, held: list[str]) -> str:
    if root is None:
        return ""
    listed = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    return f" in {str(root)!r}, which holds {listed or 'no dataset'}"


def unreadable(name: str, error: Exception) -> InvalidInput:
    """The error for a dataset whose files are damaged or can't be opened."""
    reason = f"the files of {name!r} can't be read ({one_line(error)}); restore or prepare it again"
    return InvalidInput("dataset", reason)
