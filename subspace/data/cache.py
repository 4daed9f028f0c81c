"""Decoded images and labels, kept as memory-mapped ``.npy`` files in the user's cache directory."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from subspace import files

_BLOCK = 1 << 24  # bytes that are written at once

Arrays = tuple[np.ndarray, np.ndarray]
_T = TypeVar("_T", bound=tuple[np.ndarray, ...])


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

    Beside each file lies its SHA-256; one that is damaged or of another shape is rebuilt. A cache
    that can't be written is not an error: the decoded arrays are returned as they are.

    Args:
        key: what identifies the arrays: dataset, version, split, fingerprint.
        shape: of the images, ``(N, H, W, C)``.
        classes: number of classes; labels outside 0 to ``classes - 1`` count as damage.
        decode: makes the arrays, ``uint8 (N, H, W, C)`` and ``int32 (N,)``.

    Returns:
        Images and labels.
    """
    images_path, labels_path = _file(key, "images"), _file(key, "labels")

    def stored() -> Arrays:
        return _mapped(images_path, np.uint8, shape), _labels(labels_path, shape[0], classes)

    return _kept((images_path, labels_path), stored, decode)


def cached_labels(
    key: tuple[str, ...], size: int, classes: int, decode: Callable[[], np.ndarray]
) -> np.ndarray:
    """The labels alone, as `cached` keeps them, of images that aren't."""
    path = _file(key, "labels")
    (labels,) = _kept((path,), lambda: (_labels(path, size, classes),), lambda: (decode(),))
    return labels


def cached_rows(
    key: tuple[str, ...], size: int, below: int, make: Callable[[], np.ndarray]
) -> np.ndarray:
    """Token ids, int32 (size, longest) from 0 to ``below - 1``, kept as `cached` keeps images."""
    path = _file(key, "ids")

    def stored() -> tuple[np.ndarray]:
        rows = _mapped(path, np.int32, (size, None))
        if rows.min() < 0 or rows.max() >= below:
            raise ValueError("ids out of range")
        return (rows,)

    (rows,) = _kept((path,), stored, lambda: (make(),))
    return rows


def _file(key: tuple[str, ...], what: str) -> Path:
    *folders, last = (re.sub(r"[^\w.-]", "_", part) for part in key)
    return cache_root().joinpath("datasets", *folders) / f"{last}-{what}.npy"


def _kept(paths: tuple[Path, ...], stored: Callable[[], _T], decode: Callable[[], _T]) -> _T:
    """What is stored; decoded, and if it can be stored then, where that is missing or damaged."""
    try:
        return stored()
    except (OSError, ValueError, EOFError):
        arrays = decode()
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, array in zip(paths, arrays, strict=True):
            _write(path, array)
        return stored()
    except (OSError, ValueError, EOFError):
        return arrays


def _labels(path: Path, size: int, classes: int) -> np.ndarray:
    labels = _mapped(path, np.int32, (size,))
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError("labels out of range")
    return labels


def _mapped(path: Path, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of such a type and shape, of which None may be any size."""
    kept = files.read(_digest_of(path), "cache", most=64).decode(errors="replace")
    if files.size_of(path, "cache") and kept != _sha256(path):
        raise ValueError(f"{path.name} isn't what was written")
    array = np.lib.format.open_memmap(path, mode="r")
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"{path.name} holds {array.dtype} {array.shape}")
    return array


def _write(path: Path, array: np.ndarray) -> None:
    """Write a file and its digest, each whole or not at all."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    rows = np.ascontiguousarray(array)
    files.replace(path, (bytes(part) for part in (header.getvalue(), *_in_blocks(rows))))
    files.replace(_digest_of(path), _sha256(path).encode())


def _in_blocks(array: np.ndarray) -> Iterator[memoryview]:
    """Its bytes, so many at a time."""
    content = memoryview(array.reshape(-1).view(np.uint8))  # pyright: ignore[reportArgumentType]
    return (content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
