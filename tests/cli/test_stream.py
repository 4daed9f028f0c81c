"""Images that stay on disk: the same runs as in memory, and images of several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import Cli, check, final_state
from helpers import image_feature, random_images, write_tfds

from subspace import data
from subspace.data.stream import Feed, Streamed
from subspace.data.tfds_stream import sized


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUBSPACE_CACHE", str(tmp_path / "cache"))
    splits = {"train": random_images(150), "test": random_images(20, seed=1)}
    return write_tfds(tmp_path / "tfds", "toys", splits)


def test_what_is_streamed_is_what_is_loaded(toys: Path, tmp_path: Path):
    whole = data.load("toys", data_dir=str(toys), seed=3)
    for _ in range(2):  # the second time with labels from the cache
        on_disk = data.load("toys", data_dir=str(toys), seed=3, stream=True)
        for name in ("train", "validation", "test"):
            kept, read = getattr(whole, name), getattr(on_disk, name)
            assert isinstance(read.inputs, Streamed)
            assert read.inputs.shape == kept.inputs.shape
            np.testing.assert_array_equal(read.targets, kept.targets)
            np.testing.assert_array_equal(read.inputs[:], kept.inputs)
            np.testing.assert_array_equal(read.inputs[np.array([3, 1])], kept.inputs[[3, 1]])
    (labels,) = tmp_path.glob("cache/**/train-*-all-labels.npy")
    labels.write_bytes(b"damaged")
    again = data.load("toys", data_dir=str(toys), seed=3, stream=True)
    np.testing.assert_array_equal(again.train.targets, whole.train.targets)


def test_a_streamed_run_is_the_run_in_memory_and_resumes(
    cli: Cli, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("subspace.data.stream._WINDOW", 40)
    run = ("run", "rbd", "--dataset", "toys", "--data-dir", toys, "--dim", 9, "--batch-size", 16)
    assert cli(*run, "--epochs", 3, "--augment", "--out", tmp_path / "a").exit_code == 0
    begun = (*run, "--epochs", 1, "--augment", "--stream", "--out", tmp_path / "b")
    assert cli(*begun).exit_code == 0
    go_on = cli("run", "rbd", "--out", tmp_path / "b", "--resume", "--epochs", 3)
    assert go_on.exit_code == 0, go_on.output
    (steps, one), (other_steps, other) = final_state(tmp_path / "a"), final_state(tmp_path / "b")
    assert steps == other_steps == 24
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    shown = cli("evaluate", tmp_path / "b", "--split", "train", "--json")
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("streams", [False, True])
def test_steps_see_the_batches_of_the_order(monkeypatch: pytest.MonkeyPatch, streams: bool):
    monkeypatch.setattr("subspace.data.stream._WINDOW", 10)
    images, labels = random_images(30)
    read: list[int] = []

    def some(rows: np.ndarray) -> np.ndarray:
        read.append(len(rows))
        return images[rows]

    split: Any = Streamed(some, images.shape) if streams else images
    feed = Feed(split, labels, lambda arrays: arrays)
    order = np.random.default_rng(0).permutation(30)[:28].astype(np.int32)
    for first in (0, 3):  # an epoch from its start, and one that is resumed
        feed.begin(order, 4)
        for step in range(first, 7):
            held, tags, places = feed.at(step)
            batch = places[4 * step : 4 * step + 4]
            np.testing.assert_array_equal(held[batch], images[order[4 * step : 4 * step + 4]])
            np.testing.assert_array_equal(tags[batch], labels[order[4 * step : 4 * step + 4]])
    feed.close()
    assert max(read, default=12) == 12  # three batches: the least that makes ten


def test_images_of_several_sizes_are_resized_and_cropped(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUBSPACE_CACHE", str(tmp_path / "cache"))
    draws, labels = np.random.default_rng(0), np.arange(40) % 4
    sizes = draws.integers(9, 30, (40, 2))
    images: Any = [draws.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    splits = {"train": (images, labels), "validation": (images[:8], labels[:8])}
    varied = {"image": image_feature((None, None, 3))}
    write_tfds(tmp_path, "photographs", splits, features=varied)
    given = ("--dataset", "photographs", "--data-dir", tmp_path, "--epochs", 1, "--dim", 5)
    check(cli("run", "rbd", *given), "--stream")
    check(cli("run", "rbd", *given, "--image-size", 12), "--image-size", "stream")
    check(cli("run", "rbd", *given, "--stream"), "differ in size")
    done = cli("run", "rbd", *given, "--stream", "--image-size", 12, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    loaded = data.load("photographs", data_dir=str(tmp_path), stream=True, image_size=12)
    assert loaded.shape == (12, 12, 3)
    assert loaded.train.inputs[:3].shape == (3, 12, 12, 3)


def test_a_resized_image_keeps_its_middle_and_its_brightness():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 200
    made = sized(image, (14, 14, 3))
    assert made.shape == (14, 14, 3)
    assert made.min() == 200  # 16 rows of 40, and 32 columns of 80, of which the middle 14
    assert sized(image, (40, 80, 3)) is image
    assert sized(image[:, :, :1], (14, 14, 1)).shape == (14, 14, 1)


def test_what_cannot_be_streamed_is_said(cli: Cli, tmp_path: Path):
    splits = {"train": random_images(20), "test": random_images(5)}
    write_tfds(tmp_path, "toys", splits, file_format="tfrecord")
    given = ("--dataset", "toys", "--data-dir", tmp_path, "--stream")
    check(cli("run", "rbd", *given), "array_record")
    check(cli("run", "rbd", "--stream"), "--stream", "memory")
