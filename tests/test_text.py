"""Texts and labels in files: what they become, what is cached, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import write_tfds

from subspace import InvalidInput
from subspace.data.dataset import Wanted
from subspace.data.sentences import load_sentences
from subspace.data.tokenize import Bytes, tokenizer
from subspace.models.bert import Bert, BertShape

ROWS = [("good", "a fine film"), ("bad", "dull"), ("good", 'so "fine", so long'), ("bad", "ü no")]


def write(folder: Path, kind: str, part: str = "train", rows=ROWS, names=("label", "text")) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    elif kind == "tsv":
        lines = ["\t".join(row) for row in [names, *rows]]
    else:
        quoted = [[f'"{word.replace(chr(34), 2 * chr(34))}"' for word in row] for row in rows]
        lines = [",".join(row) for row in [names, *quoted]]
    (folder / f"{part}.{kind}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def load(folder: Path, **about):
    wanted: dict[str, Any] = {"validation": 0.0} | about
    return load_sentences(Wanted(f"text:{folder}", **wanted))


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl"])
def test_every_kind_of_file_holds_the_same_texts(tmp_path: Path, kind: str):
    folder = write(write(tmp_path, kind), kind, "test", ROWS[:2])
    data = load(folder)
    assert (data.outputs, data.vocabulary, len(data.validation.targets)) == (2, 257, 0)
    np.testing.assert_array_equal(data.train.targets, [1, 0, 1, 0])  # bad, good
    first = [byte + 1 for byte in b"a fine film"]
    np.testing.assert_array_equal(data.train.inputs[0, : len(first)], first)
    assert not data.train.inputs[0, len(first) :].any()
    longest = max(len(text.encode()) for _, text in ROWS)
    assert data.train.inputs.shape == (4, longest)
    assert data.test.inputs.shape == (2, longest)


def test_texts_are_cut_and_columns_have_names(tmp_path: Path):
    folder = write(tmp_path, "tsv", names=("kind", "sentence"))
    data = load(folder, context=5, text_column="sentence", label_column="kind")
    assert data.shape == (5,)
    with pytest.raises(InvalidInput, match="no 'text' among kind, sentence") as error:
        load(folder)
    assert error.value.field == "text_column"


def test_a_validation_file_is_what_is_held_out(tmp_path: Path):
    folder = write(write(tmp_path, "tsv", rows=ROWS * 3), "jsonl", "validation", ROWS[:3])
    assert len(load(folder, validation=0.1).validation.targets) == 3
    assert len(load(folder, validation=0.0).validation.targets) == 0
    assert len(load(folder, validation=0.1).train.targets) == 10  # a fifth is for testing


def test_labels_that_are_numbers_are_ordered_as_such(tmp_path: Path):
    rows = [(label, "text") for label in ("10", "9", "-1", "9")]
    data = load(write(write(tmp_path, "csv", rows=rows), "csv", "test", rows))
    np.testing.assert_array_equal(data.train.targets, [2, 1, 0, 1])


def test_separators_that_are_no_ends_of_lines_stay_in_texts(tmp_path: Path):
    rows = [("nan", "one\u2028two"), ("1", "three\x0bfour"), ("nan", "five")]
    data = load(write(write(tmp_path, "jsonl", rows=rows), "jsonl", "test", rows))
    np.testing.assert_array_equal(data.train.targets, [1, 0, 1])


def test_a_text_without_tokens_is_no_trouble():
    model = Bert(BertShape(257, width=8, heads=2, inner=8), 2, key=jax.random.key(0))
    loss = lambda m: jax.numpy.sum(m(jax.numpy.zeros(4, "int32")))  # noqa: E731
    found = eqx.filter_value_and_grad(loss)(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found) if eqx.is_array(leaf))


def test_tokens_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(write(tmp_path, "tsv"), "tsv", "test")
    calls = []
    plain = Bytes.ids
    monkeypatch.setattr(Bytes, "ids", lambda *a: calls.append(1) or plain(*a))
    first = load(folder, context=7)
    made = len(calls)
    assert made
    again = load(folder, context=7)
    assert len(calls) == made
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    write(folder, "tsv", rows=[*ROWS, ("bad", "new")])
    assert len(load(folder, context=7).train.targets) == 5
    assert len(calls) == made + 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "0 texts"),
        (ROWS[:1], "1 texts"),
        ([("a", "x"), ("a", "y")], "1 label"),
    ],
)
def test_too_little_is_said(tmp_path: Path, rows, said: str):
    with pytest.raises(InvalidInput, match=said):
        load(write(tmp_path, "tsv", rows=rows))


def test_what_can_not_be_read_is_said(tmp_path: Path):
    def refused(said: str, folder: Path = tmp_path, **about) -> None:
        with pytest.raises(InvalidInput, match=said):
            load(folder, **about)

    refused("no folder", tmp_path / "none")
    refused("train.tsv, train.csv, train.jsonl")
    write(tmp_path, "tsv")
    write(tmp_path, "csv")
    refused("keep one")
    (tmp_path / "train.csv").unlink()
    write(tmp_path, "tsv", "test", [("ugly", "x"), ("good", "y")])
    refused("the label 'ugly', train has not")
    (tmp_path / "test.tsv").write_bytes(b"label\ttext\ngood\t\xff\xfe\n")
    refused("isn't UTF-8")
    (tmp_path / "test.tsv").unlink()
    (tmp_path / "train.tsv").unlink()
    (tmp_path / "train.jsonl").write_text('{"label": "a", "text": "x"}\nnot JSON\n')
    refused("damaged")
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "train.csv").write_text('label,text\na,"x\n')
    refused("train.csv, line")
    write(tmp_path, "tsv")
    (tmp_path / "train.csv").unlink()
    refused("tokenizer.json", tokenizer=str(tmp_path))


def test_texts_of_tfds_by_name(tmp_path: Path):
    texts, labels = np.asarray([text for _, text in ROWS * 3]), np.arange(12) % 2
    splits = {"train": (texts, labels), "validation": (texts[:3], labels[:3])}
    write_tfds(tmp_path, "reviews", splits | {"test": (texts[:2], np.full(2, -1))})
    wanted = Wanted("reviews", data_dir=str(tmp_path), validation=0.25)
    data = load_sentences(wanted)
    assert [len(one.targets) for one in (data.train, data.validation, data.test)] == [9, 3, 3]
    first = [byte + 1 for byte in texts[0].encode()]
    np.testing.assert_array_equal(data.test.inputs[0, : len(first)], first)
    with pytest.raises(InvalidInput, match="its columns: label, text") as error:
        load_sentences(wanted._replace(text_column="sentence"))
    assert error.value.field == "text_column"
    with pytest.raises(InvalidInput, match="no_such_set"):
        load_sentences(wanted._replace(name="no_such_set"))
    with pytest.raises(InvalidInput, match="stream"):
        load_sentences(wanted._replace(stream=True))


def test_a_pretrained_tokenizer_adds_its_special_tokens(tmp_path: Path):
    pytest.importorskip("tokenizers", reason="the library tokenizers isn't installed")
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "fine": 4, "film": 5}
    special = [{"id": words[w], "content": w} for w in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    record = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**one, **flags, "special": True} for one in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(record))
    reader = tokenizer(str(tmp_path))
    rows = reader.rows(["fine film", "odd"], 16)
    np.testing.assert_array_equal(rows, [[2, 4, 5, 3], [2, 1, 3, 0]])
    np.testing.assert_array_equal(reader.rows(["fine film film film"], 4), [[2, 4, 5, 3]])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match="damaged"):
        tokenizer(str(tmp_path))
