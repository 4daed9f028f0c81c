"""``load`` on embedded data, on small TFDS directories that the tests write, and on bad input."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import image_feature, label_feature, random_images, write_tfds

from subspace import data
from subspace.data import cache as data_cache
from subspace.data import tfds_prepare, tfds_source
from subspace.errors import InvalidInput

SHARED = Path(__file__).parents[2] / "shared/data/tfds"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED.name} data beside us")
TRAIN, TEST = random_images(40), random_images(10, seed=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toys(tmp_path):
    return write_tfds(tmp_path / "tfds", "toy", {"train": TRAIN, "test": TEST})


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def refused(field, *words, **arguments):
    """Assert that ``load`` refuses its arguments quickly, in one line with these words."""
    start = time.monotonic()
    with pytest.raises(InvalidInput) as caught:
        data.load(arguments.pop("name", "toy"), **arguments)
    assert time.monotonic() - start < 5
    assert caught.value.field == field
    assert "\n" not in caught.value.reason
    for word in words:
        assert word in caught.value.reason
    return caught.value.reason


def sorted_rows(*splits):
    """The images of several splits as one sorted list of bytes."""
    return sorted(image.tobytes() for split in splits for image in split.inputs)


# Embedded data


def test_digits():
    digits = data.load("digits")
    assert (digits.name, digits.outputs, digits.shape) == ("digits", 10, (8, 8, 1))
    sizes = [len(split.targets) for split in (digits.train, digits.validation, digits.test)]
    assert sizes == [1293, 144, 360]
    assert digits.train.inputs.dtype == np.uint8
    assert digits.train.targets.dtype == np.int32
    assert (digits.train.inputs.min(), digits.train.inputs.max()) == (0, 255)
    assert set(digits.test.targets) == set(range(10))


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = data.load("digits")
    found = sorted_rows(digits.train, digits.validation, digits.test)
    pixels = np.round(load_digits(return_X_y=True)[0] * 255 / 16).astype(np.uint8)
    assert found == sorted(image.tobytes() for image in pixels)


def test_the_seed_moves_validation_and_leaves_test():
    first, again, other = (data.load("digits", seed=seed) for seed in (0, 0, 1))
    for one, two in [(first.train, again.train), (first.validation, again.validation)]:
        np.testing.assert_array_equal(one.inputs, two.inputs)
    np.testing.assert_array_equal(first.test.inputs, other.test.inputs)
    assert sorted_rows(first.validation) != sorted_rows(other.validation)
    assert sorted_rows(first.train, first.validation) == sorted_rows(other.train, other.validation)


@pytest.mark.parametrize(
    ("fraction", "held_out"),
    [(0.0, 0), (1e-9, 1), (0.1, 144), (0.5, 718), (1 - 2**-53, 1436)],
)
def test_validation_is_a_fraction_of_train(fraction, held_out):
    digits = data.load("digits", validation=fraction)
    assert digits.validation.inputs.shape == (held_out, 8, 8, 1)
    assert digits.validation.targets.shape == (held_out,)
    assert len(digits.train.targets) == 1437 - held_out


def test_validation_is_the_last_part_of_a_seeded_shuffle():
    whole, split = data.load("digits", validation=0.0), data.load("digits", seed=3)
    order = np.random.default_rng(3).permutation(1437)
    np.testing.assert_array_equal(
        split.validation.targets, whole.train.targets[np.sort(order[-144:])]
    )


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_arrays_are_read_only_cached_or_not(toys, fraction):
    for name in ("digits", "toy", "toy"):
        loaded = data.load(name, data_dir=str(toys), validation=fraction)
        for split in (loaded.train, loaded.validation, loaded.test):
            assert not any(array.flags.writeable for array in split)


def test_describe_is_one_line_each():
    described = dict(data.describe())
    assert {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100"} <= set(described)
    assert not any("\n" in line for line in described.values())
    assert next(iter(described)) == "digits"


# TFDS directories


@pytest.mark.parametrize("shape", [(10, 12, 1), (8, 8, 3)])
def test_a_tfds_directory_is_read_exactly(tmp_path, shape):
    train, test = random_images(23, shape), random_images(7, shape, seed=1)
    write_tfds(tmp_path, "toy", {"train": train, "test": test}, version="2.1.0")
    toy = data.load("toy", data_dir=str(tmp_path), validation=0.0)
    assert (toy.name, toy.version, toy.outputs, toy.shape) == ("toy", "2.1.0", 3, shape)
    for split, (images, labels) in [(toy.train, train), (toy.test, test)]:
        np.testing.assert_array_equal(split.inputs, images)
        np.testing.assert_array_equal(split.targets, labels)
        assert split.targets.dtype == np.int32


def test_more_images_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "_BATCH", 7)
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST})
    toy = data.load("toy", data_dir=str(tmp_path), validation=0.0)
    np.testing.assert_array_equal(toy.train.inputs, TRAIN[0])


def test_validation_stands_in_for_a_missing_test_split(tmp_path):
    write_tfds(tmp_path, "toy", {"train": TRAIN, "validation": TEST})
    toy = data.load("toy", data_dir=str(tmp_path))
    np.testing.assert_array_equal(toy.test.inputs, TEST[0])
    assert len(toy.validation.targets) == 4


def test_versions_and_configurations(tmp_path):
    for version, seed in [("1.0.0", 2), ("1.2.0", 3)]:
        splits = {"train": TRAIN, "test": random_images(10, seed=seed)}
        write_tfds(tmp_path, "toy", splits, version=version)
    write_tfds(tmp_path, "pair/left", {"train": TRAIN, "test": TEST})
    assert data.load("toy", data_dir=str(tmp_path)).version == "1.2.0"
    older = data.load("toy:1.0.0", data_dir=str(tmp_path))
    assert older.version == "1.0.0"
    np.testing.assert_array_equal(older.test.inputs, random_images(10, seed=2)[0])
    assert data.load("pair/left", data_dir=str(tmp_path)).name == "pair/left"
    refused("data_dir", "'pair'", "pair/left:1.0.0", name="pair", data_dir=str(tmp_path))


def test_other_features_are_ignored(tmp_path):
    text = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST}, features={"id": text})
    toy = data.load("toy", data_dir=str(tmp_path))
    np.testing.assert_array_equal(toy.test.inputs, TEST[0])


def test_tfds_is_imported_when_needed_and_loading_prints_nothing_else(toys):
    code = f"""if True:
        import sys
        import subspace.data.dataset
        subspace.data.dataset.load("digits")
        print("tensorflow_datasets" in sys.modules)
        subspace.data.dataset.load("toy", data_dir={str(toys)!r})
        print("tensorflow_datasets" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("False\nTrue\n", "")


# The cache


def cached_files(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_the_second_load_decodes_nothing(toys, cache, monkeypatch):
    first = data.load("toy", data_dir=str(toys))
    assert len(cached_files(cache)) == 8
    monkeypatch.setattr(tfds_source, "_decode", None)
    again = data.load("toy", data_dir=str(toys))
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    np.testing.assert_array_equal(first.test.targets, again.test.targets)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"PK\x03\x04", None])
@pytest.mark.parametrize("which", range(8))
def test_a_damaged_cache_is_rebuilt(toys, cache, damage, which):
    data.load("toy", data_dir=str(toys))
    victim = cached_files(cache)[which]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] if damage is None else damage)
    toy = data.load("toy", data_dir=str(toys), validation=0.0)
    np.testing.assert_array_equal(toy.train.inputs, TRAIN[0])
    np.testing.assert_array_equal(toy.test.targets, TEST[1])
    assert victim.read_bytes() == whole
    assert len(cached_files(cache)) == 8


@pytest.mark.parametrize("wrong", [np.full(40, 3, np.int32), np.zeros(39, np.int32), np.zeros(40)])
def test_cached_labels_that_cannot_be_right_are_rebuilt(toys, cache, wrong):
    data.load("toy", data_dir=str(toys))
    victim = next(path for path in cached_files(cache) if re.search("train.*labels", path.name))
    np.save(victim, wrong)
    toy = data.load("toy", data_dir=str(toys), validation=0.0)
    np.testing.assert_array_equal(toy.train.targets, TRAIN[1])


def test_changed_files_are_read_again(tmp_path, cache):
    for seed in (1, 2):
        root = tmp_path / f"tfds{seed}"
        write_tfds(root, "toy", {"train": TRAIN, "test": random_images(10, seed=seed)})
    (tmp_path / "tfds").symlink_to(tmp_path / "tfds1")
    data.load("toy", data_dir=str(tmp_path / "tfds"))
    (tmp_path / "tfds").unlink()
    (tmp_path / "tfds").symlink_to(tmp_path / "tfds2")
    toy = data.load("toy", data_dir=str(tmp_path / "tfds"))
    np.testing.assert_array_equal(toy.test.inputs, random_images(10, seed=2)[0])


def test_a_cache_that_cannot_be_written_is_no_error(toys, cache):
    cache.write_text("a file where the folder should be")
    toy = data.load("toy", data_dir=str(toys), validation=0.0)
    np.testing.assert_array_equal(toy.train.inputs, TRAIN[0])


def test_a_full_disk_leaves_nothing_behind(toys, cache, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    toy = data.load("toy", data_dir=str(toys), validation=0.0)
    np.testing.assert_array_equal(toy.train.inputs, TRAIN[0])
    assert cached_files(cache) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SUBSPACE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/subspace"),
        ({"SUBSPACE_CACHE": "", "HOME": "/home/me"}, "/home/me/.cache/subspace"),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, expected):
    for name in ("SUBSPACE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert data_cache.cache_root() == Path(expected)


# Bad input


@pytest.mark.parametrize("fraction", [1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_fraction_outside_zero_to_one(fraction):
    refused("validation", "[0, 1)", name="digits", validation=fraction)


def test_a_negative_seed():
    refused("seed", "at least 0", name="digits", seed=-1)


@pytest.mark.parametrize("name", ["", "../x", "a/b/c", "mnist:", "a b", "toy\n", "/toy"])
def test_a_malformed_name(name, toys):
    refused("dataset", "name[/config][:version]", name=name, data_dir=str(toys))


@pytest.mark.parametrize(
    ("name", "near"), [("minst", "mnist"), ("cifar-10", ""), ("digit", "digits"), ("toyy", "toy")]
)
def test_an_unknown_name_gets_near_ones(name, near, toys):
    refused("dataset", near, name=name, data_dir=str(toys))


@pytest.mark.parametrize("name", ["nonesuch", "minst", "kaggle:foo"])
def test_an_unknown_name_needs_no_network_to_be_refused(name, offline):
    refused("dataset", "there is no dataset", name=name)


def test_a_directory_that_does_not_exist(tmp_path):
    refused("data_dir", "doesn't exist", data_dir=str(tmp_path / "nowhere"))
    refused("data_dir", "doesn't exist", data_dir="")


def test_a_file_for_a_directory(tmp_path):
    (tmp_path / "file").touch()
    refused("data_dir", "isn't a directory", data_dir=str(tmp_path / "file"))


def test_a_directory_without_the_dataset_says_what_it_holds(toys):
    reason = refused("data_dir", "toy:1.0.0", "download it", name="mnist", data_dir=str(toys))
    assert "choose one of those" in reason
    refused("data_dir", "toy:1.0.0", name="toy:9.9.9", data_dir=str(toys))
    assert [path.name for path in toys.iterdir()] == ["toy"]


def test_an_empty_directory(tmp_path):
    (tmp_path / "empty").mkdir()
    refused("data_dir", "holds no dataset", name="mnist", data_dir=str(tmp_path / "empty"))


@pytest.mark.parametrize("inner", ["toy", "toy/1.0.0"])
def test_a_datasets_own_directory(toys, inner):
    refused("data_dir", "pass the one that holds it", data_dir=str(toys / inner))


@pytest.mark.parametrize(
    ("features", "word"),
    [
        ({"image": image_feature((None, None, 1))}, "differ in size"),
        ({"image": image_feature((10, 12, 1), "uint16")}, "uint16"),
        ({"image": None}, "no `image`"),
        ({"label": None}, "no `image` with a class `label`"),
        ({"label": image_feature((10, 12, 1))}, "no `image` with a class `label`"),
        ({"label": label_feature(2)}, "outside 0 to 1"),
    ],
)
def test_data_that_is_not_image_classification(tmp_path, features, word):
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST}, features=features)
    refused("dataset", word, data_dir=str(tmp_path))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_split(tmp_path, part):
    write_tfds(tmp_path, "toy", {part: TRAIN})
    refused("dataset", f"splits {part};", data_dir=str(tmp_path))


def test_unlabelled_images(tmp_path):
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": (TEST[0], np.full(10, -1))})
    refused("dataset", "labels outside", "'test'", data_dir=str(tmp_path))


def cut(path):
    path.write_bytes(path.read_bytes()[:-70_000])


def scramble(path):
    whole = bytearray(path.read_bytes())
    whole[200:2000] = bytes(1800)
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [cut, scramble, Path.unlink, lambda path: path.write_text("x")])
def test_damaged_records(toys, damage):
    damage(next(toys.glob("*/*/*train*")))
    refused("dataset", "'toy'", "prepare it again", data_dir=str(toys))


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_metadata(toys, file):
    (toys / "toy/1.0.0" / file).write_text("{oops")
    refused("dataset", "can't be read", data_dir=str(toys))


def test_fewer_records_than_the_metadata_claims(toys):
    info = toys / "toy/1.0.0/dataset_info.json"
    facts = json.loads(info.read_text())
    facts["splits"][0]["shardLengths"] = ["41"]
    info.write_text(json.dumps(facts))
    refused("dataset", "can't be read", data_dir=str(toys))


def test_images_of_another_size_than_the_metadata_claims(tmp_path):
    features = {"image": image_feature((11, 12, 1))}
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST}, features=features)
    refused("dataset", "can't be read", data_dir=str(tmp_path))


# Downloads


@pytest.fixture
def fresh(monkeypatch):
    """TFDS finds nothing prepared in its own directory."""
    monkeypatch.setattr(tfds_source, "on_disk", lambda name, root: None)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [()])


def test_tfrecord_files_without_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "has_tensorflow", lambda: False)
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST}, file_format="tfrecord")
    refused("dataset", "tfrecord", "subspace-jax[tensorflow]", data_dir=str(tmp_path))


def test_no_network(fresh, offline):
    refused("dataset", "no network", "--data-dir", name="mnist")


def test_a_network_that_never_answers(fresh, monkeypatch):
    monkeypatch.setattr(tfds_prepare, "_NETWORK_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(1))
    refused("dataset", "no network", name="mnist")


def test_no_tensorflow(fresh, online, monkeypatch):
    monkeypatch.setattr(tfds_prepare, "has_tensorflow", lambda: False)
    refused("dataset", "pip install 'subspace-jax[tensorflow]'", name="mnist")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("imdb_reviews", "text, label"),
        ("imagenet2012", "differ in size"),
        ("cifar10:9.9.9", "only: 3.0.2"),
        ("cifar10/nonesuch", "nonesuch"),
    ],
)
def test_what_could_not_be_used_is_refused_before_the_download(fresh, offline, name, word):
    refused("dataset", word, name=name)


@pytest.mark.parametrize("kind", ["os", "checksum", "extract", "download", "manual"])
def test_a_download_that_fails(fresh, online, monkeypatch, kind):
    with tfds_prepare.quiet():
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import download_manager, extractor, util
    errors = {
        "os": OSError("reset\nby peer"),
        "checksum": download_manager.NonMatchingChecksumError("reset by peer"),
        "extract": extractor.ExtractError("reset by peer"),
        "download": util.DownloadError("reset by peer"),
        "manual": AssertionError("reset by peer"),
    }

    def fail(*_args, **_kwargs):
        raise errors[kind]

    monkeypatch.setattr(tfds_prepare, "has_tensorflow", lambda: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    refused("dataset", "reset by peer", "--data-dir", name="mnist")


def test_a_download_that_succeeds(fresh, online, toys, monkeypatch, capsys):
    with tfds_prepare.quiet():
        import tensorflow_datasets as tfds
    prepared = tfds.builder_from_directory(toys / "toy/1.0.0")
    asked = {}

    def download(**options):
        asked.update(options)
        print("Downloading")

    monkeypatch.setattr(prepared, "download_and_prepare", download)
    monkeypatch.setattr(tfds_prepare, "has_tensorflow", lambda: True)
    monkeypatch.setattr(tfds, "builder", lambda name: prepared)
    assert data.load("mnist").name == "toy"
    assert asked["file_format"] == "array_record"
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Downloading\n")


# The shared copies


@needs_shared
@pytest.mark.parametrize(
    ("name", "shape"), [("fashion_mnist", (28, 28, 1)), ("cifar10_jpeg", (32, 32, 3))]
)
def test_shared_data_is_found_without_a_builder(name, shape):
    source = tfds_source.open_source(name, os.fspath(SHARED))
    assert (source.shape, source.classes, source.parts) == (shape, 10, ("train", "test"))


@needs_shared
def test_shared_test_images_decode():
    images, labels = tfds_source.open_source("mnist", os.fspath(SHARED)).arrays("test")
    assert images.shape == (10_000, 28, 28, 1)
    np.testing.assert_array_equal(labels[:0], np.zeros(0, np.int32))
    assert set(np.unique(labels)) == set(range(10))
    assert 33.7 < images.mean() / 1.0 < 33.9


def test_test_images_of_another_shape_are_refused_before_anything_trains(monkeypatch):
    labels = np.zeros(4, np.int32)
    train, test = (data.Split(np.zeros((4, n, n, 1), np.uint8), labels) for n in (8, 6))
    entry = data.DatasetEntry("odd", 1, lambda: (train, test))
    monkeypatch.setitem(data.EMBEDDED, "odd", entry)
    with pytest.raises(InvalidInput, match=r"\(8, 8, 1\) and tests on \(6, 6, 1\)"):
        data.load("odd")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dataset_info.json", '"40"', '"-1"'),
        ("dataset_info.json", '"40"', '"99999999999999"'),
        ("dataset_info.json", '"40"', '"4"'),
        ("features.json", '"12"', '"100000000"'),
        ("features.json", '"numClasses": "3"', '"numClasses": "1000000000"'),
        ("features.json", "{", "[" * 200_000),
        ("dataset_info.json", "{", "[" * 200_000),
    ],
)
def test_metadata_that_can_not_be_true_is_refused_before_memory_is_taken(
    tmp_path, cache, file, old, new
):
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST})
    (victim,) = tmp_path.rglob(file)
    text = victim.read_text()
    assert old in text
    victim.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInput) as caught:
        data.load("toy", data_dir=str(tmp_path))
    assert "\n" not in caught.value.reason


def test_a_pipe_in_a_prepared_dataset_is_not_waited_for(tmp_path, cache):
    write_tfds(tmp_path, "toy", {"train": TRAIN, "test": TEST})
    (victim,) = tmp_path.rglob("dataset_info.json")
    victim.unlink()
    os.mkfifo(victim)
    refused("data_dir", "no regular file", name="toy", data_dir=str(tmp_path))
