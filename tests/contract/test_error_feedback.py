"""What a subspace misses comes later: the laws of error feedback, over every basis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import SIZE, START, close, filled, flat, loss, train

from subspace import Evolution, InvalidInput, Mean, RandomSubspace, in_subspace, rbd, sgd
from subspace.basis import BASES
from subspace.optim.workers import PerWorker
from subspace.train.mesh import for_workers


def residual_of(state: Any) -> Any:
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, PerWorker))
    return next(node.each for node in nodes if isinstance(node, PerWorker))


@pytest.mark.parametrize("basis", [name for name in BASES if name != "bernoulli_paper"])
def test_what_was_followed_and_what_is_left_make_up_all_gradients(basis):
    optimizer = rbd(START, 1.0, dim=9, basis=basis, error_feedback=True)
    update: Any = jax.jit(optimizer.update)
    state = optimizer.init(START)
    followed = given = np.zeros(SIZE)
    for step in range(5):
        gradient = filled(10 + step)
        updates, state = update(gradient, state, START)
        followed, given = followed - flat(updates), given + flat(gradient)
    left = flat(residual_of(state))
    np.testing.assert_allclose(followed + left, given, atol=2e-4)
    assert np.linalg.norm(left) > 0.1


def test_in_all_dimensions_nothing_is_missed():
    optimizer = rbd(START, 0.1, dim=SIZE, error_feedback=True)
    params, state = train(optimizer, 6)
    close(params, train(sgd(START, 0.1), 6)[0])
    np.testing.assert_allclose(flat(residual_of(state)), 0, atol=1e-5)


def test_it_descends_at_sgds_learning_rate_where_rbd_crawls():
    # 61 / 9 steps late, η = 0.05: SGD has (1 - η)^120 = 0.2% of the distance left
    with_it, _ = train(rbd(START, 0.05, dim=9, error_feedback=True), 120)
    without, _ = train(rbd(START, 0.05, dim=9), 120)
    assert float(loss(with_it)) < 0.01 * float(loss(START))
    assert float(loss(without)) > 0.1 * float(loss(START))


def test_workers_with_residuals_of_their_own_move_as_one_with_the_mean_gradient():
    space = RandomSubspace(START, dim=9)
    inner = optax.sgd(0.1)
    together: Any = in_subspace(space, inner, exchange=Mean("workers"), error_feedback=True)
    alone: Any = in_subspace(space, inner, error_feedback=True)
    both = jax.jit(jax.vmap(together.update, axis_name="workers"))
    states = jax.vmap(lambda _: together.init(START))(jnp.arange(2))
    state = alone.init(START)
    for step in range(4):
        one, two = filled(20 + step), filled(40 + step)
        gradients = jax.tree.map(lambda a, b: jnp.stack([a, b]), one, two)
        updates, states = both(gradients, states)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, one, two)
        expected, state = alone.update(mean, state)
        for worker in range(2):
            close(jax.tree.map(lambda leaf, w=worker: leaf[w], updates), expected)


def test_residuals_for_another_number_of_workers_keep_their_mean():
    state = {"a": PerWorker({"w": jnp.asarray([[1.0, 2.0], [3.0, 6.0]])}), "b": jnp.ones(3)}
    same = for_workers(state, 2)
    np.testing.assert_array_equal(same["a"].each["w"], [[1, 2], [3, 6]])
    more = for_workers(state, 3)
    np.testing.assert_array_equal(more["a"].each["w"], [[2, 4]] * 3)
    assert more["b"].shape == (3,)


def test_an_estimator_without_gradients_is_refused():
    with pytest.raises(InvalidInput, match="error_feedback"):
        in_subspace(
            RandomSubspace(START, dim=9), optax.sgd(0.1), estimator=Evolution(), error_feedback=True
        )
