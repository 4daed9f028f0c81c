"""A split of TensorFlow Datasets read image by image, of one size or brought to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from subspace.data.cache import cached_labels, fingerprint
from subspace.data.stream import Streamed
from subspace.data.tfds_find import unreadable
from subspace.data.tfds_prepare import quiet
from subspace.data.tfds_source import PreparedDataset, check_lengths
from subspace.errors import InvalidInput

_BATCH = 1000
_MARGIN = 8 / 7  # of the shorter side over the crop: 256 pixels for 224


def streamed(source: PreparedDataset, part: str) -> tuple[Streamed, np.ndarray]:
    """A split's images, not read, and its labels ``int32 (N,)``.

    Raises:
        InvalidInput: the files can't be read at random, or are damaged.
    """
    try:
        with quiet():
            import tensorflow_datasets as tfds

            records = source.builder.as_data_source(split=part)
            skip = {"image": tfds.decode.SkipDecoding()}
            bare = source.builder.as_data_source(split=part, decoders=skip)
        check_lengths(source.builder, part)
        labels = _labels(source, part, bare)
    except NotImplementedError:
        raise InvalidInput(
            "stream",
            f"{source.name!r} isn't stored as array_record, which is what can be read at random; "
            "prepare it as that, or leave stream out",
        ) from None
    except Exception as error:  # array_record, protobuf and Pillow each have their own
        raise unreadable(source.name, error) from error

    def read(rows: np.ndarray) -> np.ndarray:
        try:
            with quiet():
                found = records.__getitems__([int(row) for row in rows])
        except Exception as error:
            raise unreadable(source.name, error) from error
        return np.stack([sized(row["image"], source.shape) for row in found])

    return Streamed(read, (len(labels), *source.shape)), labels


def sized(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The middle of an image whose shorter side was brought to 8/7 of the crop's.

    An image of the right shape stays as it is.
    """
    if image.shape == shape:
        return image
    from PIL import Image

    height, width = shape[:2]
    scale = _MARGIN * max(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if grey else image)
    resized = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
    top, left = (rows - height) // 2, (columns - width) // 2
    return resized.reshape(rows, columns, -1)[top : top + height, left : left + width]


def _labels(source: PreparedDataset, part: str, records: Any) -> np.ndarray:
    """Those of a split, from the cache or by reading all records once, images left as they are."""

    def decode() -> np.ndarray:
        labels = np.empty(len(records), np.int32)
        for start in range(0, len(records), _BATCH):
            rows = list(range(start, min(start + _BATCH, len(records))))
            labels[rows] = [row["label"] for row in records.__getitems__(rows)]
        if labels.min() < 0 or labels.max() >= source.classes:
            raise ValueError(f"labels outside 0 to {source.classes - 1}")
        return labels

    mark = fingerprint(Path(source.builder.data_dir))
    key = (source.name, source.version, f"{part}-{mark}-all")
    return cached_labels(key, len(records), source.classes, decode)
