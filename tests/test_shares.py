"""Which examples workers hold: the laws of a division, and of who takes part."""

from __future__ import annotations

import numpy as np
import pytest

from subspace import InvalidInput, data
from subspace.config.run import RunConfig
from subspace.data.dataset import Split
from subspace.data.shares import divide
from subspace.train.trainer import Trainer

LABELS = np.repeat(np.arange(10), 60)
SPLIT = Split(np.zeros((600, 1)), LABELS)


def classes(skew, workers=6):
    rows = divide(SPLIT, workers, workers, skew, seed=3).rows
    return np.stack([np.bincount(LABELS[row], minlength=10) for row in rows])


@pytest.mark.parametrize("skew", [None, 1e-3, 0.3, 100.0])
@pytest.mark.parametrize("workers", [1, 6, 7])
def test_each_holds_as_many_and_none_is_held_twice(skew, workers):
    rows = divide(SPLIT, workers, workers, skew, seed=0).rows
    assert rows.shape == (workers, 600 // workers)
    assert len(np.unique(rows)) == rows.size


def test_the_smaller_the_skews_number_the_fewer_classes_a_worker_holds():
    largest = [classes(skew).max(axis=1).mean() for skew in (1e-3, 0.3, 100.0)]
    assert largest[0] > largest[1] > largest[2]
    assert classes(1e-3)[0].max() >= 60  # all there are of one
    assert classes(1000.0).min() >= 3


def test_a_division_is_named_by_the_seed():
    one, again, other = (divide(SPLIT, 6, 6, 0.3, seed).rows for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("present", [2, 6])
def test_a_worker_sees_its_own_examples_only(present):
    shares = divide(SPLIT, 6, present, 0.3, seed=0)
    order = shares.order(steps=20, batch=4 * present, rounds=5, seeds=(0, 1))
    holder = np.full(600, -1)
    for worker, row in enumerate(shares.rows):
        holder[row] = worker
    holders = holder[order.reshape(20, present, 4)]
    assert (holders == holders[:, :, :1]).all()
    by_step = holders[:, :, 0]
    for begin in range(0, 20, 5):  # a round's workers stay, and are all different
        assert (by_step[begin : begin + 5] == by_step[begin]).all()
        assert len(set(by_step[begin])) == present
    if present == 2:
        assert len({tuple(one) for one in by_step[::5]}) > 1
    np.testing.assert_array_equal(order, shares.order(20, 4 * present, 5, (0, 1)))
    assert (order != shares.order(20, 4 * present, 5, (0, 2))).any()


def test_a_worker_goes_through_all_it_holds_before_it_begins_anew():
    shares = divide(SPLIT, 6, 6, None, seed=0)
    order = shares.order(steps=25, batch=24, rounds=1, seeds=(0,)).reshape(25, 6, 4)
    for worker, row in enumerate(shares.rows):
        assert sorted(order[:, worker].ravel()) == sorted(row)


def test_a_run_says_what_cannot_be_shared():
    with pytest.raises(InvalidInput, match="classes"):
        divide(Split(np.zeros((6, 1)), np.zeros((6, 2))), 2, 2, 0.3, 0)
    with pytest.raises(InvalidInput, match="use fewer"):
        divide(SPLIT, 601, 601, None, 0)
    given = {"method": "sgd", "epochs": 1, "workers": 400, "batch_size": 1600, "skew": 1}
    with pytest.raises(InvalidInput, match="each holds 3 examples"):
        Trainer(RunConfig.resolve(given), data.load("digits"))
    for field in ("skew", "participation"):
        with pytest.raises(InvalidInput, match="several workers"):
            Trainer(
                RunConfig.resolve({"method": "sgd", "epochs": 1, "workers": 1, field: 0.5}),
                data.load("digits"),
            )
    for field, value in {"skew": 0, "participation": 1.5}.items():
        with pytest.raises(InvalidInput, match=field):
            RunConfig.resolve({"method": "sgd", field: value})


def test_few_of_many_workers_share_a_batch():
    config = RunConfig.resolve({"method": "sgd", "workers": 32, "participation": 0.1})
    assert config.participants == 3
    assert RunConfig.resolve({"method": "sgd", "workers": 4}).participants == 4
