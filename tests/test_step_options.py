"""How a step measures gradients: in parts, and in bfloat16."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import InvalidInput, data
from subspace.config.run import RunConfig
from subspace.train.evaluate import totals
from subspace.train.trainer import Trainer


def after_steps(steps=3, **given):
    """The state after some steps of a run on digits."""
    base = {"method": "sgd", "epochs": 1, "batch_size": 32, "augment": False}
    trainer = Trainer(RunConfig.resolve(base | given), data.load("digits"))
    running = trainer.running(0)
    state = trainer.placed(trainer.first_state(running, trainer.weights, 1))
    split = trainer.dataset.train
    order = trainer.order(running.place, 0)
    inputs = trainer.placed((np.asarray(split.inputs), np.asarray(split.targets), order))
    for _ in range(steps):
        state = running.train_step(state, *inputs, due=running.due(0))
    return state


def flat(state):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])


@pytest.mark.parametrize("method", ["sgd", "rbd"])
def test_parts_of_a_batch_come_to_its_gradient(method):
    whole, parts = (after_steps(method=method, accumulate=n) for n in (1, 4))
    np.testing.assert_allclose(flat(parts), flat(whole), rtol=1e-4, atol=1e-6)
    one, other = totals(whole.meters), totals(parts.meters)
    assert int(one.examples) == int(other.examples) == 3 * 32
    for name, total in one.sums.items():
        np.testing.assert_allclose(other.sums[name], total, rtol=1e-5)


@pytest.mark.skipif(
    tuple(map(int, jax.__version__.split(".")[:2])) < (0, 12),
    reason="before, XLA gives all parts on a CPU memory of their own",
)
def test_parts_of_a_batch_take_less_memory():
    """By XLA's account, of a network whose activations are what is large."""

    def temporary(accumulate):
        given = {"method": "sgd", "model": "vit", "epochs": 1, "batch_size": 256}
        config = RunConfig.resolve(given | {"accumulate": accumulate, "augment": False})
        trainer = Trainer(config, data.load("digits"))
        running = trainer.running(0)
        state = trainer.placed(trainer.first_state(running, trainer.weights, 1))
        split, order = trainer.dataset.train, trainer.order(running.place, 0)
        inputs = trainer.placed((np.asarray(split.inputs), np.asarray(split.targets), order))
        program = running.train_step.lower(state, *inputs, due=None).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(8) < 0.6 * temporary(1)


@pytest.mark.parametrize("model", ["fc", "resnet8"])
def test_in_bfloat16_the_parameters_stay_what_they_are(model):
    full, half = (after_steps(1, model=model, dtype=name) for name in ("float32", "bfloat16"))
    for one, other in zip(jax.tree.leaves(full), jax.tree.leaves(half), strict=True):
        assert one.dtype == other.dtype
    moved = flat(full) - flat(after_steps(0, model=model))
    gap = np.linalg.norm(flat(half) - flat(full)) / np.linalg.norm(moved)
    assert 0 < gap < 0.25  # eight bits of each product; of normalised layers one after another


def test_what_does_not_fit_is_said():
    with pytest.raises(InvalidInput, match="equal parts"):
        after_steps(0, accumulate=5)
    with pytest.raises(InvalidInput, match="float32"):
        after_steps(0, method="kfac", dtype="bfloat16")
    with pytest.raises(InvalidInput, match="did you mean 'bfloat16'"):
        after_steps(0, dtype="float16")
    assert jnp.bfloat16.dtype == "bfloat16"
