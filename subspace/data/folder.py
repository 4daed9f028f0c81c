"""Images of one's own: a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from subspace.data.arrays import set_apart
from subspace.data.dataset import Dataset, Split, Wanted, divided
from subspace.data.tfds_stream import sized
from subspace.errors import InvalidInput
from subspace.files import size_of

_KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def load_own_images(wanted: Wanted) -> Dataset:
    """Images in ``DIR/CLASS``, or in ``DIR/train/CLASS`` and ``DIR/test/CLASS``.

    Without such a division, a fifth of the images is for testing, always the same ones.
    Classes are numbered in the order of their names.

    Raises:
        InvalidInput: no such folder, no images in it, files that are no images, or images that
            differ in size without an ``image_size``.
    """
    root = Path(str(wanted.path("folder"))).expanduser()
    if not root.is_dir():
        raise InvalidInput("dataset", f"there is no folder {str(root)!r}; give folder:DIR")
    parts = [root / "train", root / "test"]
    own = all(part.is_dir() for part in parts)
    classes = sorted({path.name for part in (parts if own else [root]) for path in _folders(part)})
    if len(classes) < 2:
        raise InvalidInput(
            "dataset",
            f"{root} has {len(classes)} folders; it has to have one for each class, or train and "
            "test with one for each class",
        )
    files = [_files(part, classes) for part in (parts if own else [root])]
    channels = 1 if all(_is_grey(file) for part in files for file, _ in part) else 3
    splits = [_split(part, channels, wanted.image_size) for part in files]
    if own and splits[0].inputs.shape[1:] != splits[1].inputs.shape[1:]:
        raise _sizes(root, splits[1].inputs.shape[1:], splits[0].inputs.shape[1:])
    train, test = splits if own else set_apart(splits[0])
    return divided(wanted.name, "1", len(classes), (train, test), wanted)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _files(part: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Its images, each with the number of its class."""
    found = [
        (file, number)
        for number, name in enumerate(classes)
        for file in sorted((part / name).glob("*"))
        if file.suffix.lower() in _KINDS
    ]
    for file, _ in found:
        size_of(file, "dataset")  # a pipe would be waited for
    if not found:
        raise InvalidInput("dataset", f"{part} holds no images ({', '.join(sorted(_KINDS))})")
    return found


def _is_grey(file: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.mode in ("1", "L", "I;16", "I")
    except Exception:  # Pillow raises many kinds for damaged files
        raise InvalidInput("dataset", f"{file} is damaged, or no image; take it out") from None


def _split(files: list[tuple[Path, int]], channels: int, side: int | None) -> Split:
    images, first = [], None
    for file, _ in files:
        image = _pixels(file, channels)
        if side is not None:
            image = sized(image, (side, side, channels))
        first = image.shape if first is None else first
        if image.shape != first:
            raise _sizes(file, image.shape, first)
        images.append(image)
    return Split(np.stack(images), np.asarray([label for _, label in files], np.int32))


def _pixels(file: Path, channels: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except Exception:  # Pillow raises many kinds for damaged files
        raise InvalidInput("dataset", f"{file} is damaged, or no image; take it out") from None
    return pixels.reshape(*pixels.shape[:2], channels)


def _sizes(what: Path, have: tuple[int, ...], others: tuple[int, ...]) -> InvalidInput:
    size, usual = (f"{shape[0]}x{shape[1]}" for shape in (have, others))
    return InvalidInput(
        "dataset", f"{what} is {size} where others are {usual}; bring all to one, --image-size N"
    )
