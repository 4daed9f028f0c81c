"""Averages of parameters beside an optimizer, and what of a phase depends on how long it is."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subspace import InvalidInput
from subspace.config.phase import Phase
from subspace.config.run import RunConfig
from subspace.methods import METHODS, NES, PBFGS, Newton
from subspace.methods.natural import KFAC
from subspace.optim.averaging import average, averaged
from subspace.store.folder import resume_config
from subspace.train.flat import is_flat, steps_between_looks


def walk(kind: str, steps: int, **given: Any) -> tuple[list[np.ndarray], Any]:
    """The parameters after each step of SGD, and the average at the end."""
    optimizer: Any = averaged(optax.sgd(0.1, 0.9), kind, **given)
    params = jnp.asarray([1.0, -2.0])
    state, seen = optimizer.init(params), []
    for step in range(steps):
        updates, state = optimizer.update(params + step, state, params)
        params = params + updates
        seen.append(np.asarray(params))
    return seen, average(state)


def test_swa_is_the_mean_of_the_ends_of_epochs():
    seen, mean = walk("swa", 12, begins=6, every=3)
    np.testing.assert_allclose(mean, np.mean([seen[i] for i in (5, 8, 11)], axis=0), rtol=1e-5)
    seen, mean = walk("swa", 4, begins=6, every=3)
    np.testing.assert_allclose(mean, seen[-1], rtol=1e-6)


def test_ema_forgets():
    seen, mean = walk("ema", 7, decay=0.5)
    expected = np.asarray([1.0, -2.0])
    for step, params in enumerate(seen, 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * params
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_the_optimizer_is_left_alone():
    plain: Any = optax.sgd(0.1, 0.9)
    params = jnp.asarray([1.0, -2.0])
    state, seen = plain.init(params), []
    for step in range(5):
        updates, state = plain.update(params + step, state, params)
        params = params + updates
        seen.append(np.asarray(params))
    np.testing.assert_array_equal(walk("ema", 5)[0], seen)
    assert average(state) is None
    with pytest.raises(InvalidInput, match="average"):
        averaged(plain, "median")


def phase(**given: Any) -> Phase:
    return RunConfig.resolve(given).phases[0]


def test_schedules():
    def rates(**given: Any) -> list[float]:
        rate: Any = phase(method="sgd", learning_rate=2.0, epochs=4, **given).schedule
        rate = rate.rates(5)
        return [float(rate(i)) for i in (0, 4, 5, 10, 19, 20)]

    linear = [2.0, 1.6, 1.5, 1.0, 0.1, 0.0]
    np.testing.assert_allclose(rates(schedule="linear"), linear, atol=1e-6)
    cosine = [1 + np.cos(np.pi * i / 20) for i in (0, 4, 5, 10, 19, 20)]
    np.testing.assert_allclose(rates(schedule="cosine"), cosine, atol=1e-6)
    np.testing.assert_allclose(rates(warmup=1), [0.4, 2, 2, 2, 2, 2], rtol=1e-6)
    warm = rates(schedule="linear", warmup=1)
    np.testing.assert_allclose(warm, [0.4, *linear[1:]], atol=1e-6)
    np.testing.assert_allclose(
        rates(warmup=1, milestones=(2,)), [0.4, 2, 2, 0.2, 0.2, 0.2], rtol=1e-5
    )


@pytest.mark.parametrize("shape", [{"schedule": "cosine"}, {"average": "swa"}, {"average": "ema"}])
def test_what_is_made_for_a_length_keeps_it(shape: dict[str, str]):
    config = RunConfig.resolve({"method": "dldr", **shape})
    with pytest.raises(InvalidInput, match="ends after 30"):
        resume_config(config, {"epochs": 31})
    assert resume_config(config, {"epochs": 30}) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"schedule": "cosine", "milestones": (2,)}, "milestones: go with a constant"),
        ({"schedule": "steps"}, "schedule: "),
        ({"warmup": 10, "epochs": 10}, "warmup: must be below"),
        ({"warmup": -1}, "warmup: "),
        ({"average": "mean"}, "average: "),
        ({"until_flat": True, "sample_every": "epoch"}, "until_flat: a phase that samples"),
        ({"until_flat": True, "validation": 0}, "until_flat: needs held-out"),
        ({"method": "rbd", "until_flat": True, "log_coordinates": True}, "until_flat: a phase"),
        ({"method": "rbd", "average": "swa"}, "average: does not apply to rbd"),
        ({"method": "nes", "tail": 3}, "tail: does not apply to nes"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], said: str):
    with pytest.raises(InvalidInput) as caught:
        phase(**{"method": "sgd", **given})
    assert str(caught.value).startswith(said), caught.value


def test_a_schedule_takes_the_place_of_default_milestones():
    assert phase(method="dldr").values["milestones"]
    assert phase(method="dldr", schedule="cosine").values["milestones"] == ()
    with pytest.raises(InvalidInput, match="milestones"):
        phase(method="dldr", schedule="cosine", milestones=(3,))


def test_flat_is_two_looks_in_a_row_that_are_no_better():
    assert not is_flat([])
    assert not is_flat([3.0, 2.0])
    assert not is_flat([3.0, 2.0, 1.0, 0.9])
    assert is_flat([3.0, 1.0, 1.0, 1.2])
    assert is_flat([1.0, 0.999, 0.998])  # better by less than 0.5%
    assert not is_flat([1.0, 1.1, 0.99])
    assert is_flat([-1.0, -1.001, -1.002])  # a loss may be negative
    assert not is_flat([-1.0, -1.1, -1.2])
    assert (steps_between_looks(5400, 1024), steps_between_looks(1, 64)) == (6, 1)


def test_the_cost_of_a_step_in_forward_passes():
    assert METHODS["rbd"]().passes(250) == 3
    assert (PBFGS().passes(15), PBFGS(pairs="shared").passes(15)) == (3, 6)
    assert Newton().passes(15) == 93
    assert (NES().passes(250), NES(antithetic=True, separate_batches=True).passes(250)) == (251, 3)
    assert KFAC(refresh=10).passes(1) == pytest.approx(3.3)
