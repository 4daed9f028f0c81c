"""Evolution measures what back-propagation computes, as far as it should."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import SIZE, START, filled, flat, make_step

from subspace import Backprop, Evolution, InvalidInput, RandomSubspace, nes, rbd

SPACE = RandomSubspace(START, dim=9, basis="hadamard")


def bent(params):
    """A loss with third derivatives."""
    return sum(jnp.sum(jnp.cosh(leaf)) for leaf in jax.tree.leaves(params))


def measured(estimator, loss=bent):
    grads = jax.grad(bent)(START)
    measure = jax.jit(lambda g: estimator.shape(estimator(SPACE, g, START, loss)))
    return np.asarray(measure(grads)["whole"])


def test_antithetic_unshaped_coordinates_tend_to_backprop_with_the_square_of_sigma():
    exact = measured(Backprop())
    coarse, fine = (
        np.abs(measured(Evolution(sigma=sigma, antithetic=True)) - exact).max()
        for sigma in (0.125, 0.03125)
    )
    # the error is σ²/6 times a third derivative: 16 times smaller, up to higher orders
    assert 10 < coarse / fine < 25
    assert fine < 0.01 * np.abs(exact).max()


def test_one_sided_coordinates_tend_to_backprop_with_sigma():
    exact = measured(Backprop())
    coarse, fine = (
        np.abs(measured(Evolution(sigma=sigma, antithetic=False)) - exact).max()
        for sigma in (0.0625, 0.015625)
    )
    assert 3 < coarse / fine < 5


def test_shaping_keeps_the_order_and_fixes_the_scale():
    plain = measured(Evolution(sigma=0.1))
    ranks = measured(Evolution(sigma=0.1, shaping="ranks")) * 0.1 * 9
    scores = measured(Evolution(sigma=0.1, shaping="normalise")) * 0.1 * 9
    np.testing.assert_allclose(np.sort(ranks), np.arange(9) / 8 - 0.5, atol=1e-6)
    np.testing.assert_array_equal(np.argsort(ranks), np.argsort(plain))
    np.testing.assert_allclose((scores.mean(), scores.std()), (0, 1), atol=1e-3)
    np.testing.assert_allclose(scores, (plain - plain.mean()) / plain.std(), atol=1e-3)


def test_chunks_make_no_difference():
    few, all_at_once = (measured(Evolution(sigma=0.0625, chunk=chunk)) for chunk in (2, 9))
    # rounding of losses near 70 makes 70 · 2⁻²³ / (2 · 0.0625 √61), about 1e-5
    np.testing.assert_allclose(few, all_at_once, atol=5e-5)


def test_nes_perturbs_each_parameter_by_sigma_and_moves_as_rbd_does():
    options = {"dim": 9, "antithetic": True, "shaping": "none"}
    step = make_step(nes(START, 0.5, sigma=1e-2, **options))
    optimizer = nes(START, 0.5, sigma=1e-2, **options)
    moved, _ = step(jax.tree.map(jnp.array, START), optimizer.init(START))
    plain = rbd(START, 0.5, dim=9)
    expected, _ = make_step(plain)(jax.tree.map(jnp.array, START), plain.init(START))
    np.testing.assert_allclose(flat(moved), flat(expected), atol=2e-3)

    seen = []

    def record(params):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), flat_of(params))
        return bent(params)

    one_way = nes(START, 0.5, dim=9, sigma=0.02)
    one_way.update(filled(2), one_way.init(START), START, value_fn=record)
    jax.effects_barrier()
    away = [
        np.sqrt(np.mean((x - flat(START)) ** 2)) for x in np.concatenate(seen).reshape(-1, SIZE)
    ]
    np.testing.assert_allclose(away, 0.02, rtol=1e-3)


def flat_of(params):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])


def test_separate_batches_measure_each_direction_on_its_share():
    weights = jnp.arange(1.0, 10.0)

    def shared(params, part=None):
        if part is None:
            return bent(params)
        index, count = part
        assert count == 9
        return weights[index] * bent(params)

    estimator = Evolution(sigma=0.01, antithetic=True, separate_batches=True)
    expected = measured(Evolution(sigma=0.01, antithetic=True)) * np.asarray(weights)
    # rounding of losses near 9 · 100 is the larger error
    np.testing.assert_allclose(measured(estimator, shared), expected, atol=0.02)


def test_nes_without_a_loss_function_says_what_it_needs():
    optimizer = nes(START, 0.5, dim=9)
    with pytest.raises(ValueError, match="value_fn"):
        optimizer.update(START, optimizer.init(START), START)


@pytest.mark.parametrize(("field", "value"), [("sigma", 0.0), ("sigma", -1.0), ("shaping", "odd")])
def test_bad_options_are_named(field, value):
    with pytest.raises(InvalidInput, match=field):
        nes(START, 0.5, dim=9, **{field: value})
