"""A small but real TensorFlow Datasets directory, written without TensorFlow."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_FEATURES = "tensorflow_datasets.core.features."


def random_images(
    size: int, shape: tuple[int, int, int] = (10, 12, 1), classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """``uint8 (size, *shape)`` noise and labels 0 to ``classes - 1``, all of which occur."""
    noise = np.random.default_rng(seed).integers(0, 256, (size, *shape), np.uint8)
    return noise, np.arange(size) % classes


def image_feature(shape: tuple[int | None, ...], dtype: str = "uint8") -> dict[str, Any]:
    """The ``features.json`` entry of an image; ``None`` is a dimension that varies."""
    dimensions = [str(-1 if size is None else size) for size in shape]
    return {
        "pythonClassName": f"{_FEATURES}image_feature.Image",
        "image": {"dtype": dtype, "shape": {"dimensions": dimensions}, "encodingFormat": "png"},
    }


def text_feature() -> dict[str, Any]:
    """The ``features.json`` entry of a text."""
    return {"pythonClassName": f"{_FEATURES}text_feature.Text", "text": {}}


def label_feature(classes: int) -> dict[str, Any]:
    """The ``features.json`` entry of a class label."""
    return {
        "pythonClassName": f"{_FEATURES}class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(classes)},
    }


def write_tfds(
    directory: Path,
    name: str,
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    version: str = "1.0.0",
    features: dict[str, Any] | None = None,
    file_format: str = "array_record",
) -> Path:
    """Write a dataset as TFDS lays it out, ``directory/name/version/``, one shard a split.

    Args:
        directory: the ``data_dir``; made if absent.
        name: of the dataset, possibly ``name/config``.
        splits: images ``uint8 (N, H, W, C)`` with C 1 or 3, or texts ``(N,)``, and labels ``(N,)``,
            by split.
        version: of the dataset.
        features: overrides or adds entries of ``features.json``; an entry that is ``None`` goes.
        file_format: what ``dataset_info.json`` claims; the records are array_record regardless.

    Returns:
        ``directory``.
    """
    folder = directory / name / version
    folder.mkdir(parents=True)
    base = name.split("/")[0]
    for split, (images, labels) in splits.items():
        _write_records(folder / f"{base}-{split}.{file_format}-00000-of-00001", images, labels)
    first = next(iter(splits.values()))[0]
    classes = max(int(labels.max()) for _, labels in splits.values()) + 1
    if isinstance(first[0], str):
        what = {"text": text_feature()}
    else:
        what = {"image": image_feature(first[0].shape)}
    held = {**what, "label": label_feature(classes), **(features or {})}
    (folder / "features.json").write_text(json.dumps(_features_dict(held)))
    info = {
        "name": base,
        "version": version,
        "fileFormat": file_format,
        "moduleName": "__main__",
        "splits": [_split_info(split, len(labels)) for split, (_, labels) in splits.items()],
    }
    if "/" in name:
        info["configName"] = name.split("/")[1]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return directory


def _features_dict(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_FEATURES}features_dict.FeaturesDict",
        "featuresDict": {"features": {key: value for key, value in features.items() if value}},
    }


def _split_info(name: str, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "numBytes": "1000",
        "shardLengths": [str(size)],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }


def _write_records(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_datasets.proto import tf_example_pb2

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for image, label in zip(images, labels, strict=True):
        example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(image, str):
            example.features.feature["text"].bytes_list.value.append(image.encode())
        else:
            png = io.BytesIO()
            Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image).save(png, "PNG")
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
        example.features.feature["label"].int64_list.value.append(int(label))
        writer.write(example.SerializeToString())
    writer.close()
