"""Image-classification data: ``load("digits")``, or any TensorFlow Datasets set by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple, cast

import numpy as np

from subspace.data.stream import Streamed
from subspace.errors import InvalidInput

_SUGGESTED: dict[str, str] = {
    "mnist": "28x28 handwritten digits, 60,000 train and 10,000 test (TensorFlow Datasets)",
    "fashion_mnist": "28x28 clothing, 60,000 train and 10,000 test (TensorFlow Datasets)",
    "cifar10": "32x32 colour photographs in 10 classes, 50,000 and 10,000 (TensorFlow Datasets)",
    "cifar100": "32x32 colour photographs in 100 classes, 50,000 and 10,000 (TensorFlow Datasets)",
    "<name>[/config][:version]": "any TensorFlow Datasets image-classification dataset by name",
}
_DIGITS_TEST = 360


class Split(NamedTuple):
    """One part of a dataset; both arrays are read-only.

    Attributes:
        images: ``uint8``, ``(N, H, W, C)``, 0 to 255; a `subspace.data.stream.Streamed` if
            they stay on disk.
        labels: ``int32``, ``(N,)``, 0 to ``classes - 1``.
    """

    images: np.ndarray
    labels: np.ndarray


class DatasetEntry(NamedTuple):
    """A dataset that comes with a package, or is your own.

    Attributes:
        description: one line for people.
        classes: how many.
        read: returns the train and the test split.
        version: of the data; a record of runs.
    """

    description: str
    classes: int
    read: Callable[[], tuple[Split, Split]]
    version: str = "1"


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one dataset, in three disjoint splits.

    Attributes:
        name: the dataset, with its configuration if it has one (``"mnist_corrupted/spatter"``).
        version: the version of the files that were read.
        classes: number of classes.
        train: what is left of the training images after ``validation`` is taken out.
        validation: held out of the training images; possibly empty, ``(0, H, W, C)``.
        test: the test images.
    """

    name: str
    version: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def load(
    name: str,
    *,
    data_dir: str | None = None,
    validation: float = 0.1,
    seed: int = 0,
    stream: bool = False,
    image_size: int | None = None,
) -> Dataset:
    """Load a dataset.

    An embedded name is read from the package that ships it, and ``data_dir`` plays no part. Any
    other name is looked up in TensorFlow Datasets: in ``data_dir`` if given, which is never
    downloaded into, else in TFDS's own directory, where a missing dataset is downloaded (that
    needs the ``tensorflow`` extra). Decoded images are cached under ``$SUBSPACE_CACHE``,
    ``$XDG_CACHE_HOME/subspace`` or ``~/.cache/subspace``, whichever is set first.

    The test split is the dataset's ``test``, or its ``validation`` where it has no ``test``.

    Args:
        name: ``"digits"``, or ``name[/config][:version]`` as TFDS writes it.
        data_dir: a TFDS directory that holds the prepared dataset.
        validation: fraction of the training images to hold out, in [0, 1): the last part of a
            shuffle drawn from ``seed``. A positive fraction holds out at least one image.
        seed: of that shuffle, at least 0. It doesn't change the test split.
        stream: leave images on disk, and read them, from array_record files, when they are asked
            for; ``images`` are then `subspace.data.stream.Streamed`.
        image_size: with ``stream``, the side of the square that images of other sizes are resized
            to and cropped.

    Returns:
        The dataset.

    Raises:
        InvalidInput: if the dataset can't be found, read, downloaded or used as image
            classification, or ``validation`` or ``seed`` is out of range.
    """
    _check_division(validation, seed)
    if isinstance(name, str) and name in EMBEDDED:
        entry = EMBEDDED[name]
        title, version, classes = name, entry.version, entry.classes
        train, test = (_checked(name, part, classes) for part in entry.read())
        if stream:
            raise InvalidInput("stream", f"{name} is in memory anyway; leave it out")
    else:
        from subspace.data.tfds_source import open_source

        source = open_source(name, data_dir, image_size)
        title, version, classes = source.name, source.version, source.classes
        train, test = (_split(source, part, stream) for part in source.parts)
    train, held_out = _divide(train, validation, seed)
    return Dataset(title, version, classes, _frozen(train), _frozen(held_out), _frozen(test))


def describe() -> Iterator[tuple[str, str]]:
    """Yield ``(name, one-line description)`` of what ``load`` takes, embedded datasets first."""
    yield from ((name, entry.description) for name, entry in EMBEDDED.items())
    yield from _SUGGESTED.items()


def _check_division(validation: float, seed: int) -> None:
    real = isinstance(validation, Real) and not isinstance(validation, bool)
    if not real or not 0 <= validation < 1:
        raise InvalidInput(
            "validation", f"{validation!r} isn't a fraction of the training images; use [0, 1)"
        )
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise InvalidInput("seed", f"{seed!r} isn't a whole number of at least 0; use e.g. 0")


def _digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    # RandomState's stream is frozen, so the test split is the same under every NumPy.
    order = np.random.RandomState(0).permutation(len(images))
    whole = Split(images[order], labels[order].astype(np.int32))
    return _take(whole, slice(_DIGITS_TEST, None)), _take(whole, slice(_DIGITS_TEST))


def _checked(name: str, split: Split, classes: int) -> Split:
    """As arrays of the right types.

    Raises:
        InvalidInput: they have other types or shapes, or a label isn't a class.
    """
    images, labels = np.asarray(split[0]), np.asarray(split[1])
    shape, kind = images.shape, images.dtype
    if images.ndim != 4 or kind != np.uint8 or not len(images):
        raise InvalidInput(
            "dataset", f"{name}'s images have to be uint8 (N, H, W, C), and are {kind} {shape}"
        )
    if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput("dataset", f"{name}'s labels have to be {shape[0]} whole numbers")
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidInput("dataset", f"{name}'s labels have to be from 0 to {classes - 1}")
    return Split(images, labels.astype(np.int32))


EMBEDDED: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        "8x8 handwritten digits, 1,437 train and 360 test, from scikit-learn; no download",
        10,
        _digits,
    ),
}
"""Datasets that aren't TensorFlow Datasets', by name; put your own in."""


def _divide(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Training images in their own order, then the held-out ones; all stay for fraction 0."""
    size = len(train.labels)
    held_out = min(max(1, round(fraction * size)), size - 1) if fraction else 0
    if not held_out:
        return train, _take(train, slice(0))
    order = np.random.default_rng(seed).permutation(size)
    kept, held = np.sort(order[:-held_out]), np.sort(order[-held_out:])
    return _take(train, kept), _take(train, held)


def _split(source: Any, part: str, stream: bool) -> Split:
    if not stream:
        return Split(*source.arrays(part))
    from subspace.data.tfds_stream import streamed

    images, labels = streamed(source, part)
    return Split(cast(np.ndarray, images), labels)


def _take(split: Split, rows: np.ndarray | slice) -> Split:
    images = split.images
    taken = images.part(rows) if isinstance(images, Streamed) else images[rows]
    return Split(cast(np.ndarray, taken), split.labels[rows])


def _frozen(split: Split) -> Split:
    """The same arrays, read-only whether or not they are mapped from the cache."""
    arrays = [a if isinstance(a, Streamed) else np.asarray(a).view() for a in split]
    for array in arrays:
        if not isinstance(array, Streamed):
            array.flags.writeable = False
    return Split(*cast(Any, arrays))
