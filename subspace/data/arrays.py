"""Arrays of one's own: ``.npz`` files, as images and labels or as numbers."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from subspace.data.dataset import Dataset, Split, Wanted, check_division, divided, labels_of, take
from subspace.errors import InvalidInput

_WHOLE, _DIVIDED = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
_TEST = 5  # one of so many examples is for testing, where a file doesn't say which


def load_own_images(wanted: Wanted) -> Dataset:
    """Images and labels of an ``.npz`` file.

    Raises:
        InvalidInput: no such file, or its arrays are no images and labels.
    """
    path, parts = _read(wanted)
    return _classified(path, [_images(path, part.inputs) for part in parts], parts, wanted)


def load_classes(wanted: Wanted) -> Dataset:
    """Examples of any shape, and their classes, of an ``.npz`` file.

    Raises:
        InvalidInput: no such file, or its arrays are no numbers and classes.
    """
    path, parts = _read(wanted, "classification")
    inputs = [_numbers(path, part.inputs) for part in parts]
    return _classified(path, inputs, parts, wanted)


def _classified(
    path: str, inputs: list[np.ndarray], parts: tuple[Split, Split], wanted: Wanted
) -> Dataset:
    classes = max(_most(part.targets) for part in parts) + 1
    train, test = (
        Split(x, labels_of(path, part.targets, len(x), classes))
        for x, part in zip(inputs, parts, strict=True)
    )
    return divided(wanted.name, "1", classes, (train, test), wanted)


def load_numbers(wanted: Wanted) -> Dataset:
    """Examples and the numbers to predict of an ``.npz`` file.

    Raises:
        InvalidInput: no such file, or its arrays aren't numbers.
    """
    path, parts = _read(wanted, "regression")
    plain = [Split(_numbers(path, x), _numbers(path, y)) for x, y in parts]
    outputs = int(np.prod(plain[0].targets.shape[1:]))
    return divided(wanted.name, "1", outputs, (plain[0], plain[1]), wanted)


def _read(wanted: Wanted, task: str = "images") -> tuple[str, tuple[Split, Split]]:
    """The file's name, and its training and test examples."""
    check_division(wanted)
    if wanted.path("npz") is None:
        raise InvalidInput("dataset", f"{wanted.name!r} is no npz:FILE, which {task} takes")
    path = str(wanted.path("npz"))
    if not Path(path).expanduser().is_file():
        raise InvalidInput("dataset", f"there is no file {path!r}; give npz:FILE")
    try:
        with (
            Path(path).expanduser().open("rb") as file,  # which NumPy leaves open where it fails
            np.load(file, allow_pickle=False) as held,
        ):
            names = set(held.files)
            wanted_names = _DIVIDED if names >= set(_DIVIDED) else _WHOLE
            if not names >= set(wanted_names):
                have = ", ".join(sorted(names)) or "nothing"
                raise InvalidInput(
                    "dataset",
                    f"{path} has {have}; it has to have {', '.join(_DIVIDED)}, or x and y",
                )
            _check_sizes(path, wanted_names)
            found = [held[name] for name in wanted_names]
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds for damaged files
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            "dataset", f"{path} is damaged, or no .npz of plain arrays; write it with numpy.savez"
        ) from None
    return path, _parts(path, found)


def _check_sizes(path: str, names: Iterable[str]) -> None:
    """Raises ValueError where an array is said to be larger than what the file holds of it."""
    with zipfile.ZipFile(Path(path).expanduser()) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as member:
                read = _HEADERS[np.lib.format.read_magic(member)]
                shape, _, dtype = read(member)
            size = math.prod(shape) * dtype.itemsize
            if size > archive.getinfo(f"{name}.npy").file_size:
                raise ValueError(f"{name} is cut short")


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _parts(path: str, arrays: list[np.ndarray]) -> tuple[Split, Split]:
    splits = [Split(x, y) for x, y in zip(arrays[::2], arrays[1::2], strict=True)]
    for x, y in splits:
        if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or not len(x):
            raise InvalidInput(
                "dataset",
                f"{path} has {x.shape} examples and {y.shape} targets, which don't match",
            )
    if len(splits) == 1:
        splits = list(set_apart(splits[0]))
    return splits[0], splits[1]


def set_apart(whole: Split) -> tuple[Split, Split]:
    """A fifth of the examples for testing, always the same ones."""
    size = len(whole.targets)
    if size < 2:
        raise InvalidInput("dataset", "one example can't be divided; give a test split too")
    order = np.random.RandomState(0).permutation(size)  # whose stream is frozen
    count = max(1, size // _TEST)
    kept, test = np.sort(order[count:]), np.sort(order[:count])
    return take(whole, kept), take(whole, test)


def _images(path: str, x: np.ndarray) -> np.ndarray:
    """(N, H, W, C), uint8 or float32."""
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.dtype.kind not in "uf" or (x.dtype.kind == "u" and x.dtype != np.uint8):
        raise InvalidInput(
            "dataset",
            f"{path} has {x.dtype} {x.shape}; images are uint8 or floats, (N, H, W) or with C",
        )
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _numbers(path: str, array: np.ndarray) -> np.ndarray:
    """As float32.

    Raises:
        InvalidInput: they are no finite numbers.
    """
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InvalidInput("dataset", f"{path} has to hold finite numbers, not {array.dtype}")
    return array.astype(np.float32)


def _most(labels: np.ndarray) -> int:
    return int(labels.max()) if labels.dtype.kind in "iu" else 0
