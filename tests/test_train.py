"""`subspace.train`: arrays and models of one's own, what comes back, and bad input."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import subspace
from subspace import InvalidInput
from subspace.store.folder import RunFolder

RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
MODEL = eqx.nn.MLP(4, 2, 8, 1, key=jax.random.key(0))
GIVEN = {"epochs": 2, "learning_rate": 0.5, "batch_size": 16}


def trained(method: Any = "sgd", model: Any = MODEL, data: Any = (X, Y), **more: Any):
    return subspace.train(method, model=model, data=data, **(GIVEN | more))


def test_nothing_stays_on_disk_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = trained(epochs=4)
    assert result.folder is None
    assert list(tmp_path.iterdir()) == []
    assert [record["epoch"] for record in result.records] == [1, 2, 3, 4]
    assert result.summary["test_accuracy"] > 0.7
    assert result.summary["parameters"] == 58
    logits = jax.vmap(result.weights)(jnp.asarray(X))
    assert np.mean(np.argmax(logits, axis=1) == Y) > 0.7


def test_a_folder_is_a_run_that_goes_on(tmp_path):
    straight = trained(subspace.methods.RBD(dim=9), epochs=4)
    method, out = subspace.methods.RBD(dim=9), tmp_path / "run"
    trained(method, epochs=2, out=out)
    assert {"config.json", "curve.png", "summary.json"} <= {path.name for path in out.iterdir()}
    resumed = trained(method, epochs=4, out=out, resume=True)
    assert resumed.folder == out
    assert len(RunFolder(out).records()) == 4
    for a, b in zip(*map(jax.tree.leaves, (straight.weights, resumed.weights)), strict=True):
        if eqx.is_array(a):
            np.testing.assert_array_equal(a, b)


def test_what_is_trained_is_told_by_the_targets():
    assert trained().summary["task"] == "classification"
    images = RNG.integers(0, 256, (40, 4, 4), np.uint8)

    class Net(eqx.Module):
        weight: jax.Array

        def __call__(self, image):
            assert image.shape == (4, 4, 1)  # a channel, for grey images
            return image.reshape(-1) @ self.weight

    found = trained(model=Net(jnp.zeros((16, 2))), data=(images, Y[:40]), batch_size=8)
    assert found.summary["task"] == "images"
    numbers = trained(model=eqx.nn.MLP(4, 1, 8, 1, key=jax.random.key(0)), data=(X, X[:, 0]))
    assert numbers.summary["metrics"][0][0] == "absolute_error"


def test_a_test_split_of_ones_own():
    found = trained(test=(X[:7], Y[:7]), validation=0.0)
    assert found.summary["validation_loss"] is None
    assert found.summary["steps"] == 2 * 10


def test_callbacks_are_told_and_may_stop_it():
    seen = []
    stop = subspace.Callback(on_epoch=seen.append, should_stop=lambda: len(seen) >= 2)
    found = trained(epochs=50, callbacks=[stop])
    assert len(found.records) == len(seen) == 2
    assert found.summary["test_accuracy"] is not None


def test_a_chain_of_methods_on_a_trajectory():
    chain = [{"method": "dldr", "epochs": 4}, {"method": "psgd", "dim": 2, "epochs": 1}]
    found = subspace.train(chain, model=MODEL, data=(X, Y), batch_size=16, learning_rate=0.2)
    assert [record["method"] for record in found.records] == ["dldr"] * 4 + ["psgd"]
    assert found.summary["dimensions"] == 2


def test_functions_of_a_batch_are_a_model():
    def init(key, x):
        return {"w": jnp.zeros((x.shape[1], 2)), "b": jnp.zeros(2)}

    found = trained(model=(init, lambda p, x: x @ p["w"] + p["b"][None]), epochs=6)
    assert set(found.weights) == {"w", "b"}
    assert found.summary["test_accuracy"] > 0.8


def test_the_same_seed_is_the_same_run():
    one, two, other = (trained(subspace.methods.RBD(dim=5), seed=seed) for seed in (1, 1, 2))
    losses = [found.records[-1]["train_loss"] for found in (one, two, other)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"data": (X, Y[:9])}, "data"),
        ({"data": X}, "data"),
        ({"data": (X.astype(str), Y)}, "data"),
        ({"data": (X * np.nan, Y)}, "data"),
        ({"test": (X[:, :2], Y)}, "test"),
        ({"model": None}, "model"),
        ({"model": lambda x: x}, "model"),
        ({"loss": lambda o, t: 0.0, "task": "regression"}, "loss"),
        ({"task": "nothing"}, "task"),
        ({"method": "nothing"}, "method"),
        ({"method": []}, "method"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"colour": 3}, "colour"),
        ({"dataset": "digits"}, "dataset"),
        ({"validation": 1.0}, "validation"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 1000}, "batch_size"),
        ({"out": __file__}, "out"),
        ({"method": subspace.methods.RBD(dim=10**6)}, "dim"),
    ],
)
def test_bad_input_is_named(more, field):
    with pytest.raises(InvalidInput) as caught:
        trained(**more)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": (X, Y + 2**40)}, "data: has targets beyond 32 bits"),
        ({"data": (X, Y + 2**30)}, "data: has classes beyond 0 to 1048575"),
        ({"data": (X, np.zeros((160, 2, 2), int))}, "data: has targets of shape"),
        ({"model": eqx.nn.MLP(5, 2, 8, 1, key=jax.random.key(0))}, "model: can't be trained on"),
        ({"data": (X, Y * 4)}, "model: has 2 outputs for 5 classes"),
    ],
)
def test_what_would_end_in_an_error_of_somebody_elses_is_refused(given, said):
    with pytest.raises(InvalidInput) as caught:
        trained(**given)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
