"""Data of one's own: folders of images, arrays, text; and what is wrong with them, in one line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from subspace.config.run import RunConfig
from subspace.data import Wanted, load
from subspace.errors import InvalidInput
from subspace.tasks import TASKS


def draw(path, size=(6, 5), colour=120, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if mode == "L" else (colour,) * 3).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten images each, told apart by their brightness."""
    for name, colour in (("dark", 10), ("light", 200)):
        for i in range(10):
            draw(tmp_path / "images" / name / f"{i}.png", colour=colour + i)
    return tmp_path / "images"


def test_a_folder_of_class_folders(folder):
    (folder / ".DS_Store").write_text("")
    (folder / "dark" / "notes.txt").write_text("")
    found = load(f"folder:{folder}", validation=0.0)
    assert (found.shape, found.outputs) == ((5, 6, 1), 2)
    assert (len(found.train.targets), len(found.test.targets)) == (16, 4)
    for split in (found.train, found.test):
        assert ((split.inputs.mean(axis=(1, 2, 3)) > 100) == (split.targets == 1)).all()
    again = load(f"folder:{folder}", validation=0.0, seed=5)
    np.testing.assert_array_equal(found.test.inputs, again.test.inputs)


def test_a_folder_with_a_division_of_its_own_and_colour(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for name in ("a", "b"):
            for i in range(count):
                draw(tmp_path / part / name / f"{i}.jpg", mode="RGB")
    found = load(f"folder:{tmp_path}", validation=0.0)
    assert found.shape == (5, 6, 3)
    assert (len(found.train.targets), len(found.test.targets)) == (6, 4)


def test_images_of_several_sizes_are_brought_to_one(folder):
    draw(folder / "dark" / "large.png", size=(20, 30))
    with pytest.raises(
        InvalidInput, match=r"large\.png is 30x20 where others are 5x6; .*image-size"
    ):
        load(f"folder:{folder}")
    assert load(f"folder:{folder}", image_size=8).shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: (path / "dark" / "0.png").write_bytes(b"no image"), "damaged, or no image"),
        (lambda path: [file.unlink() for file in path.rglob("*.png")], "holds no images"),
        (lambda path: (path / "light").rename(path.parent / "light"), "has 1 folders"),
        (lambda path: path.rename(path.parent / "elsewhere"), "there is no folder"),
    ],
)
def test_a_folder_that_can_not_be_used(folder, spoil, said):
    spoil(folder)
    with pytest.raises(InvalidInput, match=said):
        load(f"folder:{folder}")


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_arrays_of_images(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 4, 4), np.uint8), np.arange(20) % 3
    found = load(save(tmp_path / "a.npz", x=x, y=y), validation=0.0)
    assert (found.shape, found.outputs) == ((4, 4, 1), 3)
    assert found.train.inputs.dtype == np.uint8
    both = {"x_train": x, "y_train": y, "x_test": x[:5], "y_test": y[:5]}
    floats = {name: part / 255 if part.ndim > 1 else part for name, part in both.items()}
    found = load(save(tmp_path / "b.npz", **floats), validation=0.0)
    assert (len(found.train.targets), len(found.test.targets)) == (20, 5)
    assert found.train.inputs.dtype == np.float32


def test_arrays_of_numbers_and_of_classes(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    name = save(tmp_path / "a.npz", x=x, y=y)
    classes = TASKS["classification"].load(Wanted(name, validation=0.0))
    assert (classes.shape, classes.outputs) == ((4,), 3)
    numbers = TASKS["regression"].load(Wanted(save(tmp_path / "b.npz", x=x, y=x[:, :2])))
    assert (numbers.shape, numbers.outputs) == ((4,), 2)
    assert numbers.train.targets.dtype == np.float32


X, Y = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X, "y": Y.astype(np.int64) + 2**40}, "labels have to be from 0 to 1048575"),
        ({"x": X, "y": np.full_like(Y, -1)}, "labels have to be 0 or more"),
        ({"images": X, "labels": Y}, "has to have x_train"),
        ({"x": X, "y": Y[:5]}, "don't match"),
        ({"x": X.astype(str), "y": Y}, "images are uint8"),
        ({"x": X[:, 0], "y": Y}, "images are uint8"),
        ({"x": X, "y": Y / 2}, "whole numbers"),
        ({"x": X, "y": Y - 1}, "from 0 to"),
        ({"x": X[:0], "y": Y[:0]}, "don't match"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "trains on"),
        ({"x": X, "y": np.array([{}] * 6, object)}, "no .npz of plain arrays"),
    ],
)
def test_arrays_that_can_not_be_used(tmp_path, arrays, said):
    with pytest.raises(InvalidInput, match=said):
        load(save(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_a_file_that_is_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InvalidInput, match="damaged, or no"):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_a_regression_needs_finite_numbers(tmp_path):
    bad = np.array([[1.0], [np.nan], [2.0]])
    with pytest.raises(InvalidInput, match="finite numbers"):
        TASKS["regression"].load(Wanted(save(tmp_path / "a.npz", x=bad, y=bad)))


def test_text_in_windows(tmp_path):
    file = tmp_path / "text"
    file.write_bytes(bytes(range(200)))
    found = TASKS["language"].load(Wanted(f"file:{file}", validation=0.0, context=9))
    assert (found.shape, found.outputs) == ((9,), 256)
    np.testing.assert_array_equal(found.train.targets[:, :-1], found.train.inputs[:, 1:])
    assert found.train.inputs.max() < 180 <= found.test.inputs.min()  # the last tenth
    file.write_bytes(b"short")
    with pytest.raises(InvalidInput, match="has 5 bytes"):
        TASKS["language"].load(Wanted(f"file:{file}", context=9))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "language"}, "say which language is to be trained on, such as file:PATH"),
        ({"task": "regression"}, "npz:FILE"),
        ({"task": "lnguage", "dataset": "file:a"}, "did you mean 'language'"),
        ({"task": "language", "dataset": "file:a", "augment": True}, "has no augmentation"),
        ({"image_size": 8}, "goes with stream, or a folder"),
    ],
)
def test_a_run_that_makes_no_sense(given, said):
    with pytest.raises(InvalidInput, match=said):
        RunConfig.resolve({"method": "rbd", **given})


@pytest.mark.parametrize(("task", "name"), [("language", "digits"), ("regression", "file:x")])
def test_a_dataset_of_another_task(task, name):
    with pytest.raises(InvalidInput, match=f"which {task} takes"):
        TASKS[task].load(Wanted(name))
