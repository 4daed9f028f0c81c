"""The random subspace: a chart that moves no parameters when it is redrawn."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import NAMES, normals

from subspace import RandomSubspace, SubspaceState, in_subspace

PARAMS = {"a": jnp.zeros((5, 4)), "b": jnp.zeros(9), "c": jnp.zeros(16)}


def gradient(seed=0):
    return {
        name: normals(*leaf.shape, seed=seed + i) for i, (name, leaf) in enumerate(PARAMS.items())
    }


def at(space, **changes):
    """The space with another step or seed."""
    for name, value in changes.items():
        space = eqx.tree_at(lambda s, name=name: getattr(s, name), space, jnp.asarray(value))
    return space


@eqx.filter_jit
def project(space, tree):
    return space.project(tree)


@eqx.filter_jit
def lift(space, coords):
    return space.lift(coords)


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize(("division", "scale"), [("leaf", "paper"), ("even:2", "unit")])
def test_lift_and_project_are_adjoint_over_compartments(division, scale):
    space = RandomSubspace(PARAMS, dim=6, basis="uniform", compartments=division, scale=scale)
    z = {name: jnp.asarray(normals(6, seed=i)) for i, name in enumerate(space.partition.sizes)}
    g = gradient()
    np.testing.assert_allclose(
        np.vdot(flat(lift(space, z)), flat(g)), np.vdot(flat(z), flat(project(space, g))), rtol=1e-4
    )


@pytest.mark.parametrize(("redraw_every", "draws"), [(1, 6), (2, 3), (4, 2), (None, 1)])
def test_redraw_every_k_steps(redraw_every, draws):
    space = RandomSubspace(PARAMS, dim=3, basis="normal", redraw_every=redraw_every)
    seen, coords = [], space.origin()
    for _ in range(6):
        seen.append(flat(project(space, gradient())))
        space, coords = space.redraw(coords)
    firsts = [i for i, row in enumerate(seen) if i == 0 or not np.array_equal(row, seen[i - 1])]
    assert firsts == list(range(0, 6, redraw_every or 6))
    assert len(np.unique(np.stack(seen), axis=0)) == draws


@pytest.mark.parametrize("redraw_every", [1, 3, None])
def test_coordinates_and_chart_reach_the_parameters_that_training_reached(redraw_every):
    """θ = θ(last redraw) + P z, before and after every redraw: nothing jumps."""
    space = RandomSubspace(
        PARAMS, dim=5, basis="uniform", compartments="even:2", redraw_every=redraw_every
    )
    optimizer = in_subspace(space, optax.sgd(0.3))
    params, state = PARAMS, optimizer.init(PARAMS)
    anchor, update = PARAMS, jax.jit(optimizer.update)
    for step in range(1, 8):
        updates, state = update(gradient(step), state, params)
        assert isinstance(state, SubspaceState)
        params = optax.apply_updates(params, updates)
        if redraw_every and step % redraw_every == 0:
            anchor = params
        reached = jax.tree.map(jnp.add, anchor, lift(state.space, state.coords))
        np.testing.assert_allclose(flat(reached), flat(params), atol=1e-5)
        assert np.any(flat(state.coords)) == bool(redraw_every is None or step % redraw_every)


def test_no_two_of_seed_redraw_compartment_and_row_share_a_direction():
    shapes = {name: jnp.zeros(16) for name in "abc"}
    space = RandomSubspace(shapes, dim=3, basis="normal", compartments="leaf")
    units = {name: jnp.eye(9)[:, 3 * i : 3 * i + 3] for i, name in enumerate("abc")}

    @jax.jit
    def directions(seed, step):
        lifted = jax.vmap(at(space, seed=seed, step=step).lift)(units)
        return sum(lifted.values())

    grid = jax.vmap(jax.vmap(directions, (None, 0)), (0, None))
    found = np.asarray(grid(jnp.arange(10, dtype=jnp.uint32), jnp.arange(10))).reshape(-1, 16)
    assert len(found) == 10 * 10 * 3 * 3
    # 900 directions in 16 dimensions: cos² ~ Beta(1/2, 15/2), and (1 - 0.95²)^7.5 · 4e5 pairs ≈ 10
    cosines = np.abs(found @ found.T) - np.eye(len(found))
    assert cosines.max() < 0.995
    assert len(np.unique(found.round(5), axis=0)) == len(found)


def test_seeds_of_the_whole_range_are_kept_apart():
    projected = [
        flat(project(RandomSubspace(PARAMS, dim=4, basis="uniform", seed=seed), gradient()))
        for seed in (0, 1, 2**31, 2**32 - 1)
    ]
    assert len(np.unique(np.stack(projected), axis=0)) == 4


@pytest.mark.parametrize("name", NAMES)
def test_paper_scale_gives_a_direction_of_q_of_d_parameters_the_norm_of_the_code(name):
    rms = {"uniform": 3**-0.5, "bernoulli_paper": 1.25**0.5}.get(name, 1.0)
    params = {"a": jnp.zeros((5, 4)), "b": jnp.zeros(9)}
    space = RandomSubspace(params, dim=4, basis=name, compartments="leaf", scale="paper")
    scaled = lift(space, {leaf: jnp.eye(4)[1] for leaf in params})
    for leaf, size in space.partition.sizes.items():
        assert np.linalg.norm(scaled[leaf]) == pytest.approx(rms * (size / 29) ** 0.5, rel=1e-5)


def test_dimensions_count_all_coordinates_from_zero():
    space = RandomSubspace(PARAMS, dim=7, compartments="leaf", allocate="split")
    assert space.dimensions == 7
    assert {name: z.tolist() for name, z in space.origin().items()} == {
        "a": [0, 0, 0],
        "b": [0, 0],
        "c": [0, 0],
    }
