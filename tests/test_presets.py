"""Presets: settings that go before a method's own, and after what is given."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from subspace import InvalidInput
from subspace.config.run import RunConfig
from subspace.methods import PBFGS, RBD
from subspace.methods.rates import learning_rate
from subspace.store.folder import resume_config


def phase(**given):
    return RunConfig.resolve({"method": "rbd", **given}).phases[0]


def test_strong_is_error_feedback_with_directions_of_past_steps():
    strong, plain = phase(preset="strong"), phase()
    assert strong.method == RBD(error_feedback=True, recent=3)
    assert plain.method == RBD(error_feedback=False, recent=0)
    usual = learning_rate("rbd+feedback", "fc", "digits").learning_rate
    assert strong.learning_rate == usual != plain.learning_rate


def test_what_is_given_wins():
    assert phase(preset="strong", recent=0).values["recent"] == 0
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
    assert config.phases[1].values["recent"] == 3


def test_the_published_p_bfgs_is_one():
    config = RunConfig.resolve({"method": "dldr"}, [{"method": "pbfgs", "preset": "paper"}])
    paper, usual = config.phases[1].method, PBFGS(dim=config.phases[1].values["dim"])
    assert isinstance(paper, PBFGS)
    assert (paper.initial, paper.pairs, paper.damping) == ("identity", "paper", 0)
    assert (usual.initial, usual.pairs, usual.damping) == ("variance", "paper", 0.2)
    assert paper.on_failure == "paper"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "sgd", "preset": "strong"}, "sgd has none"),
        ({"method": "rbd", "preset": "weak"}, "unknown preset 'weak'"),
        ({"method": "rbd", "recent": 7}, "recent"),
        ({"method": "fpd", "recent": 1}, "does not apply to fpd"),
        ({"method": "rbd_in_law", "recent": 1}, "does not apply to rbd_in_law"),
    ],
)
def test_bad_input(given, said):
    def build():
        RunConfig.resolve(given).phases[0].optimizer({"w": jnp.zeros(300)}, steps=1, seed=0)

    with pytest.raises(InvalidInput, match=said):
        build()
