"""Batch norm's statistics over the training split, at fixed parameters."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from helpers import random_images
from normed import normed  # noqa: F401

from subspace.config.run import RunConfig
from subspace.data.dataset import Dataset, Split
from subspace.train.running import placed
from subspace.train.trainer import Trainer


@pytest.fixture
def trainer(normed: None) -> Trainer:  # noqa: F811
    images, labels = random_images(512, (4, 4, 1))
    images = (images // 4 + np.arange(512)[:, None, None, None] // 4).astype(np.uint8)
    split = Split(images, labels.astype(np.int32))
    config = RunConfig.resolve({"method": "sgd", "model": "normed"})
    return Trainer(config, Dataset("noise", "0", 3, split, split, split))


def test_statistics_are_means_over_all_batches(trainer: Trainer):
    mean, variance = jax.tree.leaves(trainer.recalibrated(trainer.weights))
    batches = np.asarray(trainer.dataset.train.inputs, np.float32).reshape(2, 256, 4, 4) / 255
    np.testing.assert_allclose(mean, [batches.mean()], rtol=1e-5)
    np.testing.assert_allclose(variance, [batches.var(axis=(1, 2, 3)).mean()], rtol=1e-4)


def test_the_old_statistics_do_not_matter(trainer: Trainer):
    far = jax.tree.map(lambda x: x + np.float32(100), trainer.weights.model_state)
    weights = trainer.weights._replace(model_state=far)
    for a, b in zip(
        jax.tree.leaves(trainer.recalibrated(weights)),
        jax.tree.leaves(trainer.recalibrated(trainer.weights)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("method", "epochs", "asked", "due"),
    [
        ("psgd", 5, None, True),
        ("psgd", 6, None, False),  # 60 steps: its own statistics are right
        ("psgd", 6, True, True),
        ("pbfgs", 5, None, True),
        ("pbfgs", 5, False, False),
        ("rbd", 5, None, False),
        ("rbd", 5, True, True),
        ("sgd", 5, True, False),
    ],
)
def test_it_is_due_after_a_short_phase_on_a_trajectory_and_where_asked_for(
    method: str, epochs: int, asked: bool | None, due: bool
):
    first = {"method": "dldr", "model": "resnet8"}
    config = RunConfig.resolve(first, [{"method": method, "epochs": epochs, "batch_size": 100}])
    assert placed(config.phases, examples=1000)[1].recalibrates(asked) is due


def test_a_look_at_the_held_out_loss_measures_statistics_where_the_running_ones_lag(
    trainer: Trainer,
):
    far = jax.tree.map(lambda x: x + np.float32(100), trainer.weights.model_state)
    weights = trainer.weights._replace(model_state=far)
    measured = trainer.held_out_loss(weights, measured=True)
    assert measured == trainer.held_out_loss(trainer.weights, measured=True)
    assert measured != trainer.held_out_loss(weights, measured=False)
    whole = trainer.weights._replace(model_state=trainer.recalibrated(weights))
    # as many training examples as are held out, which here are all
    assert measured == pytest.approx(trainer.held_out_loss(whole, measured=False), rel=1e-6)
