"""Label noise, the step beside the gradient, and directions beside each other."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import InvalidInput, RandomSubspace, data
from subspace.data.noise import with_label_noise
from subspace.methods import RBD
from subspace.run.landscape import orthogonality
from subspace.train.diagnose import compare, expected, mean_diagnostics


def test_label_noise_replaces_so_many_training_labels_by_others():
    clean = data.load("digits")
    noisy = with_label_noise(clean, 0.3, seed=1)
    wrong = noisy.train.targets != clean.train.targets
    assert wrong.sum() == round(0.3 * len(wrong))
    assert wrong[: len(wrong) // 2].any()
    assert wrong[len(wrong) // 2 :].any()
    assert set(noisy.train.targets) == set(range(10))
    np.testing.assert_array_equal(noisy.validation.targets, clean.validation.targets)
    np.testing.assert_array_equal(noisy.test.targets, clean.test.targets)
    again = with_label_noise(clean, 0.3, seed=1).train.targets
    np.testing.assert_array_equal(noisy.train.targets, again)
    assert (with_label_noise(clean, 0.3, seed=2).train.targets != again).any()


@pytest.mark.parametrize("fraction", [-0.1, 1.0, math.nan])
def test_label_noise_out_of_range_is_named(fraction: float):
    with pytest.raises(InvalidInput, match="label_noise"):
        with_label_noise(data.load("digits"), fraction, seed=0)


def test_a_plain_step_has_cosine_1_and_its_reverse_minus_1():
    gradient = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([1.0])}
    before = jax.tree.map(jnp.ones_like, gradient)
    for sign in (1.0, -1.0):
        after = jax.tree.map(lambda p, g, s=sign: p - s * 0.5 * g, before, gradient)
        found = compare(gradient, before, after)
        assert found["cosine"] == pytest.approx(sign)
        assert found["cosine_leaves"] == pytest.approx(sign)
        assert found["energy"] == pytest.approx(1)
        assert found["update_norm"] == pytest.approx(0.5 * math.sqrt(26))
    still = compare(gradient, before, before)
    assert math.isnan(still["cosine"])


def test_random_directions_have_the_expected_cosine():
    params = {"a": jnp.zeros(3000), "b": jnp.zeros(600)}
    method = RBD(dim=360, compartments="leaf", allocate="proportional")
    space = RandomSubspace(
        params, dim=360, basis="normal", compartments="leaf", allocate="proportional"
    )
    gradient = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    after = jax.tree.map(jnp.negative, space.lift(space.project(gradient)))
    found, analytic = compare(gradient, params, after), expected(method, params)
    assert found["cosine"] == pytest.approx(analytic["analytic"], rel=0.1)
    assert found["cosine_leaves"] == pytest.approx(analytic["analytic_leaves"], rel=0.1)


def test_means_leave_out_what_a_record_lacks():
    assert mean_diagnostics(
        [{"step": 0, "cosine": 1.0}, {"step": 9, "cosine": 3.0, "trials": 2}]
    ) == {
        "cosine": 2.0,
        "trials": 2.0,
    }


@pytest.mark.parametrize("basis", ["hadamard", "normal", "rademacher"])
def test_directions_are_as_orthogonal_as_isotropic_ones(basis: str):
    found = orthogonality(basis, 400, pairs=200)
    assert found.mean() == pytest.approx(math.sqrt(2 / (math.pi * 400)), rel=0.25)


def test_the_papers_bernoulli_directions_are_not():
    assert orthogonality("bernoulli_paper", 400, pairs=50).mean() > 0.1
