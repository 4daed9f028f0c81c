"""Workers with directions of their own: what they gather is what the joint subspace says."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import START, close, filled, flat, loss

from subspace import (
    Evolution,
    Gather,
    InvalidInput,
    JointSubspace,
    RandomSubspace,
    TrajectorySubspace,
    fpd,
    in_subspace,
    nes,
    rbd,
)

K = 3
SPACE = RandomSubspace(START, dim=4, compartments="even:2")


def on_workers(optimizer, gradients, steps=2):
    """Parameters of every worker after some steps, with gradients of shape (K, ...)."""

    def walk(k):
        params, state = START, optimizer.init(START)
        mine = jax.tree.map(lambda leaf: leaf[k], gradients)
        value_fn = lambda params: loss(params, mine)  # noqa: E731
        for _ in range(steps):
            updates, state = optimizer.update(mine, state, params, value_fn=value_fn)
            params = optax.apply_updates(params, updates)
        return params

    return jax.jit(jax.vmap(walk, axis_name="data"))(jnp.arange(K))


def stacked(seeds):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(filled, seeds))


def agree(everywhere):
    """That all workers have the same parameters, and these."""
    for leaf in jax.tree.leaves(everywhere):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    return jax.tree.map(lambda leaf: leaf[0], everywhere)


def parts(space):
    return [space.drawn_by(jnp.int32(k)) for k in range(K)]


@pytest.mark.parametrize("scale", [1.0, K**-0.5])
def test_a_joint_subspace_is_its_parts_side_by_side(scale):
    joint = JointSubspace(SPACE, K, scale)
    tree = filled(3)
    coords = joint.project(tree)
    assert {name: z.shape for name, z in coords.items()} == {"slice0": (4 * K,), "slice1": (4 * K,)}
    each = [part.project(tree) for part in parts(SPACE)]
    for name, z in coords.items():
        np.testing.assert_allclose(z, scale * np.concatenate([c[name] for c in each]), rtol=1e-5)
    lifted = sum(flat(part.lift(c)) for part, c in zip(parts(SPACE), each, strict=True))
    np.testing.assert_allclose(flat(joint.lift(coords)), scale**2 * lifted, rtol=1e-4, atol=1e-5)


def test_every_worker_draws_directions_of_its_own_and_none_are_those_of_a_run_alone():
    drawn = [flat(space.lift(space.origin() | {"slice0": jnp.ones(4)})) for space in parts(SPACE)]
    drawn.append(flat(SPACE.lift(SPACE.origin() | {"slice0": jnp.ones(4)})))
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_independent_workers_step_by_the_combination_of_what_each_would_do(combine):
    gradients = stacked([5, 6, 7])
    together = rbd(START, 0.5, dim=4, exchange=Gather(K, combine=combine))
    moved = agree(on_workers(together, gradients, steps=1))
    space = RandomSubspace(START, dim=4)
    steps = [
        flat(part.filter(jax.tree.map(lambda leaf, k=k: leaf[k], gradients))[1])
        for k, part in enumerate(parts(space))
    ]
    step = np.sum(steps, axis=0) / (1 if combine == "sum" else K)
    np.testing.assert_allclose(flat(moved), flat(START) - 0.5 * step, atol=1e-5)


def test_a_split_on_one_batch_is_one_worker_with_all_directions():
    shared = stacked([5, 5, 5])
    divided = agree(on_workers(rbd(START, 0.5, dim=12, exchange=Gather(K, split=True)), shared))
    joint = JointSubspace(RandomSubspace(START, dim=4), K)
    alone = optax.chain(in_subspace(joint, None), optax.sgd(0.5))
    params, state = START, alone.init(START)
    for _ in range(2):
        updates, state = alone.update(filled(5), state, params)
        params = optax.apply_updates(params, updates)
    close(divided, params)


def test_fixed_directions_of_several_workers_stay_and_carry_momentum():
    gradients = stacked([5, 6, 7])
    moved = agree(on_workers(fpd(START, 0.1, dim=4, momentum=0.9, exchange=Gather(K)), gradients))
    columns = [
        flat(p.lift({"whole": z}))
        for p in parts(RandomSubspace(START, dim=4, redraw_every=None))
        for z in jnp.eye(4)
    ]
    gap = flat(moved) - flat(START)
    rest = np.linalg.lstsq(np.stack(columns, 1), gap, rcond=None)[1]
    assert rest < 1e-8 * gap @ gap


def test_offspring_of_all_workers_are_ranked_together():
    targets = stacked([5, 5, 5])
    divided = nes(START, 0.5, dim=9, sigma=0.1, exchange=Gather(K, split=True))
    moved = agree(on_workers(divided, targets, steps=1))
    joint = JointSubspace(RandomSubspace(START, dim=3), K)
    estimator = Evolution(sigma=0.1, antithetic=False, shaping="ranks")
    alone: Any = in_subspace(joint, optax.sgd(0.5), estimator=estimator)
    value_fn = lambda params: loss(params, filled(5))  # noqa: E731
    updates, _ = alone.update(filled(5), alone.init(START), START, value_fn=value_fn)
    close(moved, optax.apply_updates(START, updates))


def test_what_cannot_be_divided_says_so():
    rows = np.random.default_rng(0).normal(size=(4, flat(START).size)).astype(np.float32)
    trajectory = TrajectorySubspace.fit(rows, 2, START)
    with pytest.raises(InvalidInput, match="only random directions"):
        in_subspace(trajectory, optax.sgd(0.1), exchange=Gather(2))
    with pytest.raises(InvalidInput, match="5 dimensions of compartment 'slice0' can't be divided"):
        rbd(START, 0.1, dim=5, compartments="even:2", exchange=Gather(2, split=True))
    with pytest.raises(InvalidInput, match="directions that all workers share"):
        rbd(START, 0.1, dim=5, error_feedback=True, exchange=Gather(2))
    with pytest.raises(InvalidInput, match="choose from: sum, mean"):
        Gather(2, combine="median")
