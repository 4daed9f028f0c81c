"""Presets: settings that go before a method's own, and after what is given."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from subspace import InvalidInput
from subspace.config.run import RunConfig
from subspace.methods.rates import FEEDBACK, learning_rate
from subspace.store.folder import resume_config


def phase(**given):
    return RunConfig.resolve({"method": "rbd", **given}).phases[0]


def test_strong_is_error_feedback_with_directions_of_past_steps():
    strong, plain = phase(preset="strong"), phase()
    assert (strong.error_feedback, strong.recent) == (True, 3)
    assert (plain.error_feedback, plain.recent) == (False, 0)
    assert strong.learning_rate == learning_rate("rbd", "fc", "digits", True).learning_rate
    assert strong.learning_rate != plain.learning_rate
    assert learning_rate("rbd", "fc", "digits", True).method == FEEDBACK


def test_what_is_given_wins():
    assert phase(preset="strong", recent=0).recent == 0
    assert phase(preset="strong", learning_rate=0.5).learning_rate == 0.5
    plain = phase(preset="strong", error_feedback=False)
    assert plain.learning_rate == learning_rate("rbd", "fc", "digits").learning_rate


def test_it_is_not_part_of_the_record():
    config = RunConfig.resolve({"method": "rbd", "preset": "strong"})
    assert "preset" not in config.to_json()["phases"][0]
    assert RunConfig.from_json(config.to_json()) == config
    with pytest.raises(InvalidInput, match="has its settings already"):
        resume_config(config, {"preset": "strong"})


def test_a_later_phase_may_have_one():
    config = RunConfig.resolve({"method": "sgd"}, [{"method": "rbd", "preset": "strong"}])
    assert config.phases[1].recent == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "sgd", "preset": "strong"}, "sgd has none"),
        ({"method": "rbd", "preset": "weak"}, "unknown preset 'weak'"),
        ({"method": "rbd", "recent": 7}, "recent"),
        ({"method": "fpd", "recent": 1}, "does not apply to fpd"),
        ({"method": "rbd", "in_law": True, "basis": "normal", "recent": 1}, "recent=0"),
    ],
)
def test_bad_input(given, said):
    def build():
        RunConfig.resolve(given).phases[0].optimizer({"w": jnp.zeros(300)}, steps=1, seed=0)

    with pytest.raises(InvalidInput, match=said):
        build()
