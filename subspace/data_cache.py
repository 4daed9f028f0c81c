"""Decoded images and labels, kept as memory-mapped ``.npy`` files in the user's cache directory."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]


def cache_root() -> Path:
    """``$SUBSPACE_CACHE``, else ``$XDG_CACHE_HOME/subspace``, else ``~/.cache/subspace``."""
    if chosen := os.environ.get("SUBSPACE_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(home)) / "subspace"


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits of a folder: its resolved path and its files' sizes and times.

    Raises:
        OSError: if the folder can't be read.
    """
    facts = [str(folder.resolve())]
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        stat = path.stat()
        facts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def cached(
    key: tuple[str, ...],
    shape: tuple[int, ...],
    classes: int,
    decode: Callable[[], Arrays],
) -> Arrays:
    """Images and labels from the cache, decoded and stored there first if need be.

    A file that is damaged or of another shape is rebuilt. A cache that can't be written is not an
    error: the decoded arrays are returned as they are.

    Args:
        key: what identifies the arrays: dataset, version, split, fingerprint.
        shape: of the images, ``(N, H, W, C)``.
        classes: number of classes; labels outside 0 to ``classes - 1`` count as damage.
        decode: makes the arrays, ``uint8 (N, H, W, C)`` and ``int32 (N,)``.

    Returns:
        Images and labels.
    """
    *folders, last = (re.sub(r"[^\w.-]", "_", part) for part in key)
    folder = cache_root().joinpath("datasets", *folders)
    images_path, labels_path = folder / f"{last}-images.npy", folder / f"{last}-labels.npy"

    def stored() -> Arrays:
        images = _mapped(images_path, np.uint8, shape)
        labels = _mapped(labels_path, np.int32, shape[:1])
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError("labels out of range")
        return images, labels

    try:
        return stored()
    except (OSError, ValueError, EOFError):
        images, labels = decode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(images_path, images)
        _write(labels_path, labels)
        return stored()
    except (OSError, ValueError, EOFError):
        return images, labels


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    array = np.lib.format.open_memmap(path, mode="r")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{path.name} holds {array.dtype} {array.shape}")
    return array


def _write(path: Path, array: np.ndarray) -> None:
    """Write a file whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".npy")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
