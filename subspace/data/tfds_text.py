"""Texts and labels of a TensorFlow Datasets set."""

from __future__ import annotations

from typing import Any, NamedTuple

from subspace.data.dataset import Wanted
from subspace.data.tfds_find import unreadable
from subspace.data.tfds_prepare import quiet
from subspace.data.tfds_source import check_lengths, open_builder
from subspace.errors import InvalidInput


class Texts(NamedTuple):
    """The texts of a split, and their labels as words; ``where`` they are from, for people."""

    where: str
    texts: list[str]
    labels: list[str]


def texts_of(wanted: Wanted) -> dict[str, Texts]:
    """The splits of a dataset of texts by name: train, test, and validation if it is another one.

    A test split without labels, all -1 as in GLUE, is left out.

    Raises:
        InvalidInput: there is no such dataset, it can't be read, or has no such columns.
    """
    builder = open_builder(wanted.name, wanted.data_dir, lambda found: _check(found, wanted))
    _check(builder, wanted)
    found = {part: _read(builder, part, wanted) for part in ("train", "validation", "test")}
    held = {part: one for part, one in found.items() if one is not None and one.texts}
    if all(label.startswith("-") for label in held.get("test", Texts("", [], [])).labels):
        held.pop("test", None)
    if "test" not in held and "validation" in held:
        held["test"] = held.pop("validation")
    if "train" not in held:
        raise InvalidInput("dataset", f"{wanted.name!r} has no split `train`; choose another")
    return held


def _check(builder: Any, wanted: Wanted) -> None:
    """Raises InvalidInput unless the dataset has the two columns."""
    with quiet():
        import tensorflow_datasets as tfds

        features: Any = builder.info.features
        named = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
        kinds = {
            "text_column": (wanted.text_column, tfds.features.Text),
            "label_column": (wanted.label_column, tfds.features.ClassLabel),
        }
    for field, (name, kind) in kinds.items():
        if not isinstance(named.get(name), kind):
            have = ", ".join(sorted(named)) or "none"
            what = "texts" if field == "text_column" else "classes"
            said = f"{wanted.name!r} has no {what} called {name!r}; its columns: {have}"
            raise InvalidInput(field, said)


def _read(builder: Any, part: str, wanted: Wanted) -> Texts | None:
    split = builder.info.splits.get(part)
    if split is None or not split.num_examples:
        return None
    texts, labels = [], []
    try:
        with quiet():
            records = builder.as_data_source(split=part)
            check_lengths(builder, part)
            for row in records.__getitems__(list(range(len(records)))):
                texts.append(bytes(row[wanted.text_column]).decode())
                labels.append(str(int(row[wanted.label_column])))
    except NotImplementedError:
        said = f"{wanted.name!r} is stored as {builder.info.file_format.value}"
        raise InvalidInput("dataset", f"{said}; prepare it as array_record") from None
    except Exception as error:  # array_record and protobuf each have their own
        raise unreadable(wanted.name, error) from error
    return Texts(f"{wanted.name}, {part}", texts, labels)
