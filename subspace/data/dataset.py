"""What is trained on: examples and targets in three splits, by a dataset's name."""

from __future__ import annotations

import os
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
    "folder:DIR": "your images, a folder for each class, in DIR or in DIR/train and DIR/test",
    "npz:FILE": "your arrays: x_train, y_train, x_test, y_test, or x and y",
    "file:PATH": "your text, for --task language",
    "text:DIR": "your texts and labels: train, validation and test as .tsv, .csv or .jsonl",
}
_DIGITS_TEST = 360
MOST_CLASSES = 1 << 20


class Split(NamedTuple):
    """One part of a dataset; both arrays are read-only.

    Attributes:
        inputs: ``(N, ...)``; images are ``uint8 (N, H, W, C)``, 0 to 255, or floats; a
            `subspace.data.stream.Streamed` if they stay on disk.
        targets: ``(N, ...)``; of classes ``int32 (N,)``, 0 to ``outputs - 1``.
    """

    inputs: np.ndarray
    targets: np.ndarray


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


class Wanted(NamedTuple):
    """Which dataset, and how: see `load`.

    Attributes:
        context: tokens of text that a model sees at a time.
        tokenizer: ``"bytes"``, or a folder or package that has one.
        text_column, label_column: of files of texts.
    """

    name: str
    data_dir: str | None = None
    validation: float = 0.1
    seed: int = 0
    stream: bool = False
    image_size: int | None = None
    context: int = 64
    tokenizer: str = "bytes"
    text_column: str = "text"
    label_column: str = "label"

    def path(self, scheme: str) -> str | None:
        """What follows ``scheme:`` in the name; None if it is no such name."""
        head, colon, rest = str(self.name).partition(":")
        return rest if colon and head == scheme else None


@dataclass(frozen=True)
class Dataset:
    """Examples of one dataset, in three disjoint splits.

    Attributes:
        name: the dataset, with its configuration if it has one (``"mnist_corrupted/spatter"``).
        version: the version of the files that were read.
        outputs: how many numbers a model returns: classes, tokens, or numbers to predict.
        train: what is left of the training examples after ``validation`` is taken out.
        validation: held out of the training examples; possibly empty, ``(0, ...)``.
        test: the test examples.
        vocabulary: of inputs that are token ids, which are below it; None of others.
    """

    name: str
    version: str
    outputs: int
    train: Split
    validation: Split
    test: Split
    vocabulary: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example: height, width and channels of an image, tokens of a text."""
        return tuple(self.train.inputs.shape[1:])


def load(
    name: str,
    *,
    data_dir: str | None = None,
    validation: float = 0.1,
    seed: int = 0,
    stream: bool = False,
    image_size: int | None = None,
) -> Dataset:
    """Load an image-classification dataset.

    An embedded name is read from the package that ships it, and ``data_dir`` plays no part;
    ``folder:DIR`` and ``npz:FILE`` are your own files. Any other name is looked up in TensorFlow
    Datasets: in ``data_dir`` if given, which is never downloaded into, else in TFDS's own
    directory, where a missing dataset is downloaded (that needs the ``tensorflow`` extra). Decoded
    images are cached under ``$SUBSPACE_CACHE``, ``$XDG_CACHE_HOME/subspace`` or
    ``~/.cache/subspace``, whichever is set first.

    The test split is the dataset's ``test``, or its ``validation`` where it has no ``test``.

    Args:
        name: ``"digits"``, ``folder:DIR``, ``npz:FILE``, or ``name[/config][:version]`` as TFDS
            writes it.
        data_dir: a TFDS directory that holds the prepared dataset.
        validation: fraction of the training images to hold out, in [0, 1): the last part of a
            shuffle drawn from ``seed``. A positive fraction holds out at least one image.
        seed: of that shuffle, at least 0. It doesn't change the test split.
        stream: leave images on disk, and read them, from array_record files, when they are asked
            for; ``inputs`` are then `subspace.data.stream.Streamed`.
        image_size: with ``stream`` or a folder, the side of the square that images of other sizes
            are resized to and cropped.

    Returns:
        The dataset.

    Raises:
        InvalidInput: if the dataset can't be found, read, downloaded or used as image
            classification, or ``validation`` or ``seed`` is out of range.
    """
    return load_images(Wanted(name, data_dir, validation, seed, stream, image_size))


def load_images(wanted: Wanted) -> Dataset:
    """As `load`."""
    check_division(wanted)
    name = wanted.name
    if isinstance(name, str) and name in EMBEDDED:
        _no_stream(wanted)
        if wanted.data_dir is not None and not os.path.isdir(wanted.data_dir):
            raise InvalidInput("data_dir", f"there is no folder {wanted.data_dir!r}; leave it out")
        entry = EMBEDDED[name]
        train, test = (checked(name, part, entry.classes) for part in entry.read())
        return divided(name, entry.version, entry.classes, (train, test), wanted)
    if wanted.path("folder") is not None or wanted.path("npz") is not None:
        from subspace.data import arrays, folder

        _no_stream(wanted)
        return (arrays if wanted.path("npz") is not None else folder).load_own_images(wanted)
    from subspace.data.tfds_source import open_source

    source = open_source(name, wanted.data_dir, wanted.image_size)
    parts = [_split(source, part, wanted.stream) for part in source.parts]
    return divided(source.name, source.version, source.classes, (parts[0], parts[1]), wanted)


def _no_stream(wanted: Wanted) -> None:
    if wanted.stream:
        raise InvalidInput("stream", f"{wanted.name} is in memory anyway; leave it out")


def divided(
    name: str, version: str, outputs: int, parts: tuple[Split, Split], wanted: Wanted
) -> Dataset:
    """A dataset of a training and a test split, with some of the first held out.

    Raises:
        InvalidInput: the splits' examples differ in shape.
    """
    for what in Split._fields:
        shapes = [getattr(part, what).shape[1:] for part in parts]
        if shapes[0] != shapes[1]:
            said = f"{name} trains on {what} of shape {shapes[0]} and tests on {shapes[1]}"
            raise InvalidInput("dataset", f"{said}; make them alike")
    train, held_out = _divide(parts[0], wanted.validation, wanted.seed)
    return Dataset(name, version, outputs, frozen(train), frozen(held_out), frozen(parts[1]))


def describe() -> Iterator[tuple[str, str]]:
    """Yield ``(name, one-line description)`` of what ``load`` takes, embedded datasets first."""
    yield from ((name, entry.description) for name, entry in EMBEDDED.items())
    yield from _SUGGESTED.items()


def check_division(wanted: Wanted) -> None:
    """Raises InvalidInput if the fraction to hold out, or the seed, can't be used."""
    validation, seed = wanted.validation, wanted.seed
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
    return take(whole, slice(_DIGITS_TEST, None)), take(whole, slice(_DIGITS_TEST))


def checked(name: str, split: Split, classes: int) -> Split:
    """Images and labels of the right types.

    Raises:
        InvalidInput: they have other types or shapes, or a label isn't a class.
    """
    images, labels = np.asarray(split[0]), np.asarray(split[1])
    shape, kind = images.shape, images.dtype
    if images.ndim != 4 or kind != np.uint8 or not len(images):
        raise InvalidInput(
            "dataset", f"{name}'s images have to be uint8 (N, H, W, C), and are {kind} {shape}"
        )
    return Split(images, labels_of(name, labels, shape[0], classes))


def labels_of(name: str, labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Labels as int32.

    Raises:
        InvalidInput: they are no whole numbers, not so many, or one isn't a class.
    """
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput("dataset", f"{name}'s labels have to be {count} whole numbers")
    most = min(classes, MOST_CLASSES) - 1
    if labels.min() < 0 or labels.max() > most:
        limit = "0 or more" if most < 0 else f"from 0 to {most}"
        raise InvalidInput("dataset", f"{name}'s labels have to be {limit}")
    return labels.astype(np.int32)


EMBEDDED: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        "8x8 handwritten digits, 1,437 train and 360 test, from scikit-learn; no download",
        10,
        _digits,
    ),
}
"""Datasets that aren't TensorFlow Datasets', by name; put your own in."""


def _divide(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Training examples in their own order, then the held-out ones; all stay for fraction 0."""
    size = len(train.targets)
    held_out = min(max(1, round(fraction * size)), size - 1) if fraction else 0
    if not held_out:
        return train, take(train, slice(0))
    order = np.random.default_rng(seed).permutation(size)
    kept, held = np.sort(order[:-held_out]), np.sort(order[-held_out:])
    return take(train, kept), take(train, held)


def _split(source: Any, part: str, stream: bool) -> Split:
    if not stream:
        return Split(*source.arrays(part))
    from subspace.data.tfds_stream import streamed

    images, labels = streamed(source, part)
    return Split(cast(np.ndarray, images), labels)


def take(split: Split, rows: np.ndarray | slice) -> Split:
    """Some of a split's examples."""
    inputs = split.inputs
    taken = inputs.part(rows) if isinstance(inputs, Streamed) else inputs[rows]
    return Split(cast(np.ndarray, taken), split.targets[rows])


def frozen(split: Split) -> Split:
    """The same arrays, read-only whether or not they are mapped from the cache."""
    arrays = [a if isinstance(a, Streamed) else np.asarray(a).view() for a in split]
    for array in arrays:
        if not isinstance(array, Streamed):
            array.flags.writeable = False
    return Split(*cast(Any, arrays))
