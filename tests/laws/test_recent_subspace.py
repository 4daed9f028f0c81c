"""Directions of past steps beside random ones: the laws of a subspace, and what they are for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from subspace import Gather, InvalidInput, RandomSubspace, RecentSubspace, rbd

PARAMS = {"w": jnp.zeros((6, 5)), "b": jnp.zeros(7)}
SIZE = 37


def tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "w": jnp.asarray(rng.normal(size=(6, 5)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=7), jnp.float32),
    }


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@jax.jit
def step(space, tree):
    """The subspace after a step, and the step."""
    coords = space.project(tree)
    return space.redraw(coords)[0], space.lift(coords)


def walked(steps):
    """A subspace after some steps."""
    space: Any = RecentSubspace(RandomSubspace(PARAMS, dim=5), PARAMS, 3)
    for seed in range(steps):
        space, _ = step(space, tree(seed))
    return space


def means(space):
    """The running means, a row each."""
    leaves = space.means
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in leaves], axis=1)


def matrix(space):
    """P, dense."""
    origin, unravel = ravel_pytree(space.origin())
    lifted = jax.jit(jax.vmap(lambda z: ravel_pytree(space.lift(unravel(z)))[0]))
    return np.asarray(lifted(jnp.eye(origin.size))).T


@pytest.mark.parametrize("steps", [0, 1, 2, 60])
def test_project_lift_and_filter_are_one_matrix(steps):
    space = walked(steps)
    p, g = matrix(space), tree(9)
    assert p.shape == (SIZE, 3 + 5)
    coords, filtered = space.filter(g)
    for found in (coords, space.project(g)):
        np.testing.assert_allclose(np.concatenate(list(found.values())), p.T @ flat(g), atol=1e-4)
    np.testing.assert_allclose(flat(filtered), p @ (p.T @ flat(g)), atol=3e-4)


@pytest.mark.parametrize("steps", [1, 2, 60])
def test_the_directions_span_the_running_means_of_steps_and_are_orthonormal(steps):
    space = walked(steps)
    rank = min(steps, 3)
    p = matrix(space)
    q, drawn = p[:, :3], p[:, 3:]
    # Lengths come from the means' inner products in float32: after two steps two of the means are
    # nearly parallel, which costs half the digits.
    np.testing.assert_allclose(q.T @ q, np.diag([1.0] * rank + [0.0] * (3 - rank)), atol=1e-3)
    np.testing.assert_allclose(q.T @ drawn, 0, atol=1e-4)
    for mean in means(space):
        np.testing.assert_allclose(q @ (q.T @ mean), mean, atol=1e-5)
    expected = np.zeros((3, SIZE))
    again: Any = walked(0)
    for seed in range(steps):
        again, moved = step(again, tree(seed))
        for i, decay in enumerate((0.9, 0.99, 0.999)):
            expected[i] = decay * expected[i] + (1 - decay) * flat(moved)
    np.testing.assert_allclose(means(space), expected, rtol=1e-3, atol=1e-6)


def test_what_all_gradients_share_is_followed_at_once():
    """A constant gradient: after the first step its direction is among those followed."""
    g = tree(3)
    total = jax.tree.map(jnp.zeros_like, PARAMS)
    plain = rbd(PARAMS, 1.0, dim=5, recent=1)
    update, state = jax.jit(plain.update), plain.init(PARAMS)
    for _ in range(40):
        updates, state = update(g, state)
        total: Any = optax.apply_updates(total, updates)
    assert -flat(total) @ flat(g) > 20 * flat(g) @ flat(g)  # random directions: 40 · 5/37 = 5


def test_bad_input():
    with pytest.raises(InvalidInput, match="at most 6"):
        rbd(PARAMS, 1.0, dim=5, recent=7)
    with pytest.raises(InvalidInput, match="redraw_every=1"):
        rbd(PARAMS, 1.0, dim=5, recent=1, redraw_every=2)
    with pytest.raises(InvalidInput, match="only random directions"):
        rbd(PARAMS, 1.0, dim=5, recent=1, exchange=Gather(2))
