"""A trajectory on disk."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from subspace import data
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.store.samples import Samples, read_rows
from subspace.store.weights import TakenOver, Weights
from subspace.train.trainer import Trainer


def row(i: int) -> np.ndarray:
    return np.full(5, i, np.float32)


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Samples at steps 100, 103, 106 and 109."""
    taken = Samples(tmp_path / "t.f32", 5, first_step=100, every=3)
    for step in range(100, 111):
        if taken.due(step):
            taken.append(row(step))
    return taken


def test_rows_are_those_that_were_due(samples: Samples):
    np.testing.assert_array_equal(samples.rows()[:, 0], [100, 103, 106, 109])


@pytest.mark.parametrize(("step", "left"), [(100, 1), (102, 1), (103, 2), (108, 3), (109, 4)])
def test_cut_keeps_what_a_run_had_at_a_step(samples: Samples, step: int, left: int):
    samples.cut(step)
    assert len(samples.rows()) == left


def test_cut_refuses_what_is_not_there(samples: Samples):
    with pytest.raises(InvalidInput, match="cut short"):
        samples.cut(112)


def test_the_file_is_plain_numbers(samples: Samples):
    np.testing.assert_array_equal(np.fromfile(samples.file, np.float32)[:5], row(100))


def test_rows_are_not_in_memory(samples: Samples):
    rows = samples.rows()
    assert isinstance(rows.base, np.memmap)
    assert not rows.flags.writeable


@pytest.mark.parametrize("size", [7, 40])
def test_rows_of_another_size(samples: Samples, size: int):
    with pytest.raises(InvalidInput, match="another model"):
        read_rows(samples.file, size)


def test_no_rows(tmp_path: Path):
    with pytest.raises(InvalidInput, match="there is no file"):
        read_rows(tmp_path / "none.f32", 5)


def test_a_source_whose_parameters_do_not_move_is_refused_whatever_its_statistics_do():
    config = RunConfig.resolve(
        {"method": "psgd", "model": "resnet8", "dim": 1, "batch_size": 32, "source": "run"}
    )

    def still(fresh: Weights) -> TakenOver:
        leaves = jax.tree.leaves(fresh)
        rows = np.zeros((3, sum(leaf.size for leaf in leaves)), np.float32)
        rows[:, -1] = np.arange(3)  # batch norm's
        return TakenOver(fresh, rows)

    with pytest.raises(InvalidInput, match="all equal"):
        Trainer(config, data.load("digits"), still)
