"""Open a TensorFlow Datasets set and decode it, without TensorFlow where possible."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from subspace.data.cache import Arrays, cached, fingerprint
from subspace.data.dataset import MOST_CLASSES
from subspace.data.tfds_find import directory, missing, on_disk, unreadable
from subspace.data.tfds_prepare import TENSORFLOW_EXTRA, has_tensorflow, prepare, quiet
from subspace.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_]\w*(/[\w.+-]+)?(:[\w.*]+)?")
_BATCH = 1000


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset on disk.

    Attributes:
        builder: the ``tfds.core.DatasetBuilder``.
        name: dataset and configuration.
        version: of the files.
        shape: of an image, ``(H, W, C)``.
        classes: number of classes.
        parts: names of the training and the test split.
    """

    builder: Any
    name: str
    version: str
    shape: tuple[int, int, int]
    classes: int
    parts: tuple[str, str]

    def arrays(self, part: str) -> Arrays:
        """Images ``uint8 (N, H, W, C)`` and labels ``int32 (N,)`` of a split, from the cache.

        Raises:
            InvalidInput: if the files are damaged or need TensorFlow, which isn't installed.
        """
        folder = Path(self.builder.data_dir)
        try:
            size, mark = self.builder.info.splits[part].num_examples, fingerprint(folder)
            held = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            if not 0 < size <= held:
                raise ValueError(f"{part} is said to have {size} examples")
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from error
        key = (self.name, self.version, f"{part}-{mark}")
        shape = (size, *self.shape)
        return cached(key, shape, self.classes, lambda: _decode(self, part, size))


def open_builder(name: str, data_dir: str | None, check: Callable[[Any], Any]) -> Any:
    """The ``tfds.core.DatasetBuilder`` of a prepared dataset, downloaded if need be and possible.

    Args:
        name, data_dir: see `open_source`.
        check: of a builder, before anything is downloaded: raises InvalidInput if it is of no use.

    Raises:
        InvalidInput: if there is no such dataset, directory or network.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput("dataset", f"{name!r} isn't a name; use name[/config][:version]")
    root = None if data_dir is None else directory(data_dir)
    builder = on_disk(name, root)
    if builder is None:
        problem = missing(name, root)
        if problem is not None:
            raise problem
        builder = prepare(name, check=check)
    return builder


def open_source(name: str, data_dir: str | None, image_size: int | None = None) -> PreparedDataset:
    """Find a dataset in ``data_dir``, or in TFDS's own directory, downloading it if missing there.

    Args:
        name: ``name[/config][:version]``.
        data_dir: a TFDS directory; never written to. ``None`` is TFDS's own directory.
        image_size: the side to which images are to be brought when they are read one by one.

    Returns:
        The dataset, its images not yet read.

    Raises:
        InvalidInput: if there is no such dataset, directory or network, or the dataset isn't
            image classification with ``uint8`` images of one size.
    """
    builder = open_builder(name, data_dir, lambda found: _classification(found, image_size))
    shape, classes = _classification(builder, image_size)
    title = "/".join(filter(None, [builder.name, builder.info.config_name]))
    return PreparedDataset(builder, title, str(builder.version), shape, classes, _parts(builder))


def _classification(builder: Any, image_size: int | None) -> tuple[tuple[int, int, int], int]:
    """Image shape and number of classes, if the dataset is image classification of one size."""
    with quiet():
        import tensorflow_datasets as tfds

        features = builder.info.features
        named: dict[str, Any] = {}
        if isinstance(features, tfds.features.FeaturesDict):
            named = dict(features)
        image: Any = named.get("image")
        label: Any = named.get("label")
        paired = isinstance(image, tfds.features.Image)
        paired = paired and isinstance(label, tfds.features.ClassLabel)
        if not paired:
            held = f"its features: {', '.join(named)}" if named else "it has no named features"
            raise _unfit(builder, f"has no `image` with a class `label` ({held})")
        shape, dtype, classes = image.shape, np.dtype(image.np_dtype), label.num_classes
    if dtype != np.uint8:
        raise _unfit(builder, f"holds {dtype} images, not uint8")
    if image_size is not None and len(shape) == 3 and shape[2] is not None:
        shape = (image_size, image_size, shape[2])
    if len(shape) != 3 or None in shape:
        raise _unfit(
            builder,
            f"holds images that differ in size (shape {shape}); see --stream and --image-size",
        )
    if not classes or classes > MOST_CLASSES:
        raise _unfit(builder, f"says that it has {classes or 'no'} classes")
    return shape, classes


def _unfit(builder: Any, fault: str) -> InvalidInput:
    return InvalidInput(
        "dataset",
        f"{builder.name!r} {fault}; choose an image-classification set with images of one size",
    )


def _parts(builder: Any) -> tuple[str, str]:
    """The training split, and the test split or what stands in for it."""
    filled = [name for name, split in builder.info.splits.items() if split.num_examples]
    test = next((part for part in ("test", "validation") if part in filled), None)
    if "train" not in filled or test is None:
        raise InvalidInput(
            "dataset",
            f"{builder.name!r} has the splits {', '.join(filled) or 'none'}; choose one with "
            "`train` and `test` or `validation`",
        )
    return "train", test


def _decode(source: PreparedDataset, part: str, size: int) -> Arrays:
    images, labels = np.empty((0, 0), np.uint8), np.empty(size, np.int32)
    done = 0
    try:
        with quiet():
            for image, label in _batches(source.builder, part):
                if image.shape[1:] != source.shape:
                    raise ValueError(f"an image is {image.shape[1:]}, not {source.shape}")
                if not done:
                    images = np.empty((size, *source.shape), np.uint8)
                images[done : done + len(image)], labels[done : done + len(label)] = image, label
                done += len(image)
        if done != size:
            raise ValueError(f"{done} of {size} images")
    except InvalidInput:
        raise
    except Exception as error:  # array_record, protobuf and Pillow each have their own
        raise unreadable(source.name, error) from error
    if labels.min() < 0 or labels.max() >= source.classes:
        raise _unfit(source.builder, f"has labels outside 0 to {source.classes - 1} in {part!r}")
    return images, labels


def _batches(builder: Any, part: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    try:
        records = builder.as_data_source(split=part)
    except NotImplementedError:  # the files are tfrecord
        yield from _tensorflow_batches(builder, part)
        return
    check_lengths(builder, part)
    for start in range(0, len(records), _BATCH):
        rows = records.__getitems__(list(range(start, min(start + _BATCH, len(records)))))
        yield np.stack([row["image"] for row in rows]), np.array([row["label"] for row in rows])


def check_lengths(builder: Any, part: str) -> None:
    """Raises ValueError where array_record files hold other numbers of examples than is said."""
    from array_record.python.array_record_module import ArrayRecordReader

    split = builder.info.splits[part]
    for path, length in zip(split.filepaths, split.shard_lengths, strict=True):
        reader = ArrayRecordReader(str(path))
        held = reader.num_records()
        reader.close()
        if held != length:
            raise ValueError(f"{part} is said to have {length} examples in a file of {held}")


def _tensorflow_batches(builder: Any, part: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if not has_tensorflow():
        raise InvalidInput(
            "dataset",
            f"{builder.name!r} is stored as {builder.info.file_format.value}, which takes "
            f"TensorFlow to read: {TENSORFLOW_EXTRA}, or prepare it as array_record",
        )
    import tensorflow_datasets as tfds

    for batch in tfds.as_numpy(builder.as_dataset(split=part, batch_size=_BATCH)):
        yield batch["image"], batch["label"]
