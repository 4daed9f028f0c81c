"""Texts and their classes: files of one's own, as rows of token ids."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from subspace import files
from subspace.data.arrays import set_apart
from subspace.data.cache import cached_rows
from subspace.data.dataset import Dataset, Split, Wanted, check_division, divided, frozen
from subspace.data.tfds_text import Texts, texts_of
from subspace.data.tokenize import AbstractTokenizer, tokenizer
from subspace.errors import InvalidInput
from subspace.options import number

_KINDS = (".tsv", ".csv", ".jsonl")
_PARTS = ("train", "validation", "test")
_MOST = 1 << 31  # bytes of a file


def load_sentences(wanted: Wanted) -> Dataset:
    """Texts and their classes, as rows of token ids.

    ``text:DIR`` has ``train``, ``validation`` and ``test``, each .tsv, .csv or .jsonl; any other
    name is that of a TensorFlow Datasets set of texts. The validation texts are what is held out;
    without any it is a part of the training texts. Without a test split a fifth of the texts is for
    testing, always the same. Classes are numbered in the order of their labels, numbers as numbers.
    Inputs are int32 (N, longest), at most ``context`` ids; they are made once, and kept in the
    cache.

    Raises:
        InvalidInput: no such folder, files or dataset, no such columns, a label that no training
            text has, or a tokenizer that can't be read.
    """
    check_division(wanted)
    if wanted.stream:
        raise InvalidInput("stream", "is for images; texts are in memory anyway")
    path = wanted.path("text")
    found = texts_of(wanted) if path is None else _in_folder(Path(path).expanduser(), wanted)
    classes = _classes(found["train"])
    reader = tokenizer(wanted.tokenizer)
    splits = {part: _split(one, classes, reader, wanted) for part, one in found.items()}
    return _dataset(splits, len(classes), reader, wanted)


def _in_folder(root: Path, wanted: Wanted) -> dict[str, Texts]:
    """The files of a folder."""
    if not root.is_dir():
        raise InvalidInput("dataset", f"there is no folder {str(root)!r}; give text:DIR")
    found = {part: _texts(root, part, wanted) for part in _PARTS}
    if found["train"] is None:
        listed = ", ".join(f"train{kind}" for kind in _KINDS)
        raise InvalidInput("dataset", f"{root} has to have one of {listed}")
    return {part: one for part, one in found.items() if one is not None}


def _dataset(
    splits: dict[str, Split], classes: int, reader: AbstractTokenizer, wanted: Wanted
) -> Dataset:
    longest = max(one.inputs.shape[1] for one in splits.values())
    splits = {part: _widened(one, longest, reader.pad) for part, one in splits.items()}
    whole, held_out = splits["train"], splits.get("validation")
    train, test = (whole, splits["test"]) if "test" in splits else set_apart(whole)
    inside = wanted if held_out is None else wanted._replace(validation=0.0)
    data = divided(wanted.name, "1", classes, (train, test), inside)
    if held_out is not None and wanted.validation:
        data = replace(data, validation=frozen(held_out))
    return replace(data, vocabulary=reader.vocabulary)


def _widened(split: Split, longest: int, pad: int) -> Split:
    missing = longest - split.inputs.shape[1]
    inputs = np.pad(split.inputs, ((0, 0), (0, missing)), constant_values=pad)
    return Split(inputs, split.targets)


def _texts(root: Path, part: str, wanted: Wanted) -> Texts | None:
    """A file's texts and labels; None if there is no such file."""
    there = [file for kind in _KINDS if (file := root / f"{part}{kind}").exists()]
    if len(there) > 1:
        names = " and ".join(file.name for file in there)
        raise InvalidInput("dataset", f"{root} has {names}; keep one of them")
    if not there:
        return None
    (file,) = there
    try:
        content = files.read(file, "dataset", most=_MOST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("dataset", f"{file} isn't UTF-8") from None
    texts, labels = [], []
    for place, row in _rows(file, content):
        for column, name in ((texts, wanted.text_column), (labels, wanted.label_column)):
            value = row.get(name)
            if value is None:
                have = ", ".join(str(one) for one in row if one is not None)
                flag = "text_column" if column is texts else "label_column"
                raise InvalidInput(flag, f"{file}, {place}: no {name!r} among {have}")
            column.append(str(value))
    if len(texts) < 2:
        raise InvalidInput("dataset", f"{file} has {len(texts)} texts; it has to have two or more")
    return Texts(str(file), texts, labels)


def _rows(file: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row by column, and where it is."""
    if file.suffix == ".jsonl":
        for count, line in enumerate(content.split("\n"), start=1):  # others stand in texts
            if line.strip():
                yield f"line {count}", files.parsed(line, file, "dataset")
        return
    if file.suffix == ".tsv":  # a quotation mark is a character like others there
        lines = csv.DictReader(
            io.StringIO(content, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE
        )
    else:
        lines = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        for row in lines:
            yield f"line {lines.line_num}", row
    except csv.Error as error:
        raise InvalidInput("dataset", f"{file}, line {lines.line_num}: {error}") from None


def _classes(train: Texts) -> dict[str, int]:
    labels = set(train.labels)
    if len(labels) < 2:
        raise InvalidInput("dataset", f"{train.where} has {len(labels)} label; give two or more")
    return {label: place for place, label in enumerate(sorted(labels, key=_order))}


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers before words, by their size."""
    try:
        return False, number(label), label
    except ValueError:
        return True, 0.0, label


def _split(
    found: Texts, classes: dict[str, int], reader: AbstractTokenizer, wanted: Wanted
) -> Split:
    unknown = sorted({label for label in found.labels if label not in classes})
    if unknown:
        raise InvalidInput("dataset", f"{found.where} has the label {unknown[0]!r}, train has not")
    labels = np.asarray([classes[label] for label in found.labels], np.int32)
    mark = files.digest([reader.mark, wanted.context, *found.texts])
    rows = cached_rows(
        ("text", mark),
        len(labels),
        reader.vocabulary,
        lambda: reader.rows(found.texts, wanted.context),
    )
    return Split(rows, labels)
