"""Charts that aren't flat: adapters and scaled layers obey a subspace's laws at every point."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from subspace import FactoredSubspace, InvalidInput, ScaledSubspace, in_subspace, rbd

PARAMS = {
    "query": {"weight": jnp.asarray(np.random.default_rng(0).normal(size=(9, 6)), jnp.float32)},
    "other": {"weight": jnp.ones((6, 6)), "bias": jnp.ones(6)},
    "kernel": jnp.asarray(np.random.default_rng(1).normal(size=(2, 2, 3, 8)), jnp.float32),
    "head": {"weight": jnp.ones((6, 3)), "bias": jnp.zeros(3)},
}
SPACES: dict[str, Any] = {
    "factors": lambda **k: FactoredSubspace(PARAMS, dim=20, rank=2, **k),
    "kernels": lambda **k: FactoredSubspace(PARAMS, dim=20, rank=2, targets="kernel,other.w*", **k),
    "cores": lambda **k: FactoredSubspace(PARAMS, dim=20, rank=3, kind="cores", **k),
    "scaled": lambda **k: ScaledSubspace(PARAMS, dim=20, **({"redraw_every": None} | k)),
}


def coords_like(space, seed, size=0.5):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(size * rng.normal(size=z.shape), z.dtype)
        for name, z in space.origin().items()
    }


def tree(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), PARAMS)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.fixture(params=SPACES)
def space(request):
    """Somewhere on the chart, not at its origin."""
    fresh = SPACES[request.param]()
    return fresh.redraw(coords_like(fresh, 1))[0]


def test_project_is_the_transpose_of_the_derivative(space):
    z, g = coords_like(space, 2), tree(3)
    left = flat(space.tangent(z)) @ flat(g)
    right = sum(jnp.vdot(a, b) for a, b in zip(z.values(), space.project(g).values(), strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-4)
    both, followed = space.filter(g)
    np.testing.assert_allclose(flat(followed), flat(space.tangent(both)), atol=1e-6)


def test_a_short_step_is_the_derivative_of_it(space):
    z = coords_like(space, 2)
    short = jax.tree.map(lambda x: x * 1e-3, z)
    np.testing.assert_allclose(
        flat(space.lift(short)) * 1e3, flat(space.tangent(z)), rtol=0.05, atol=0.02
    )


def test_any_way_to_the_same_coordinates_ends_at_the_same_place(space):
    first, second = coords_like(space, 4), coords_like(space, 5)
    there = space.redraw(jax.tree.map(jnp.add, space.at, first))[0]
    both = jax.tree.map(jnp.add, first, second)
    steps = flat(space.lift(first)) + flat(there.lift(second))
    np.testing.assert_allclose(steps, flat(space.lift(both)), atol=1e-5)


@pytest.mark.parametrize("kind", SPACES)
def test_nothing_moves_at_the_origin_or_by_a_redraw(kind):
    space = SPACES[kind](redraw_every=2)
    assert not flat(space.displacement(space.origin())).any()
    z = coords_like(space, 1)
    once, kept = space.redraw(z)
    np.testing.assert_array_equal(kept[next(iter(z))], z[next(iter(z))])
    twice, gone = once.redraw(z)
    assert not any(np.asarray(one).any() for one in gone.values())
    assert not np.allclose(flat(twice.tangent(z)), flat(space.tangent(z)))


@pytest.mark.parametrize("kind", SPACES)
def test_a_seed_names_it(kind):
    z = coords_like(SPACES[kind](), 1)
    lifted = [flat(SPACES[kind](seed=seed).lift(z)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(lifted[0], lifted[1])
    assert not np.array_equal(lifted[0], lifted[2])


def test_only_what_was_chosen_changes():
    space = SPACES["factors"]()
    lifted = space.lift(coords_like(space, 1))
    moved = {name: bool(flat(part).any()) for name, part in lifted.items()}
    assert moved == {"query": True, "other": False, "kernel": False, "head": True}
    assert np.linalg.matrix_rank(np.asarray(lifted["query"]["weight"]), tol=1e-5) == 2
    shifted = space.shifted(PARAMS, coords_like(space, 1))
    assert shifted["other"]["weight"] is PARAMS["other"]["weight"]
    np.testing.assert_allclose(
        shifted["query"]["weight"], PARAMS["query"]["weight"] + lifted["query"]["weight"]
    )


def test_cores_lie_between_singular_vectors():
    space = FactoredSubspace(PARAMS, dim=9, rank=3, kind="cores", targets="query*", direct="")
    lifted = space.lift(coords_like(space, 1))["query"]["weight"]
    left, _, right = np.linalg.svd(np.asarray(PARAMS["query"]["weight"]))
    inside = left[:, :3] @ left[:, :3].T @ np.asarray(lifted) @ right[:3].T @ right[:3]
    np.testing.assert_allclose(inside, lifted, atol=1e-5)


def test_as_many_dimensions_as_numbers_are_these_numbers():
    numbers = 2 * (9 + 6) + 6 * 3 + 3
    space = FactoredSubspace(PARAMS, dim=numbers, rank=2)
    rows = jax.vmap(lambda z: ravel_pytree(space.tangent({"whole": z}))[0])(jnp.eye(numbers))
    # where A' stands still nothing moves with it yet; what moves are B and the head
    assert np.linalg.matrix_rank(np.asarray(rows)) == 2 * 6 + 6 * 3 + 3
    with pytest.raises(InvalidInput, match=f"{numbers} numbers"):
        FactoredSubspace(PARAMS, dim=numbers + 1, rank=2)


@pytest.mark.parametrize(
    ("about", "field"),
    [
        ({"rank": 7}, "rank"),
        ({"rank": 0}, "rank"),
        ({"kind": "factor"}, "kind"),
        ({"targets": "nothing*"}, "targets"),
        ({"targets": "other.bias"}, "targets"),
        ({"direct": "nothing*"}, "direct"),
        ({"dim": 0}, "dim"),
    ],
)
def test_what_can_not_be_used_is_said(about, field):
    with pytest.raises(InvalidInput) as error:
        FactoredSubspace(PARAMS, **({"dim": 20, "rank": 2} | about))
    assert error.value.field == field


def test_shapes_are_enough_but_for_cores():
    shapes = jax.eval_shape(lambda: PARAMS)
    z = coords_like(SPACES["factors"](), 1)
    same = FactoredSubspace(shapes, dim=20, rank=2)
    np.testing.assert_array_equal(flat(same.lift(z)), flat(SPACES["factors"]().lift(z)))
    with pytest.raises(InvalidInput, match="themselves"):
        FactoredSubspace(shapes, dim=20, rank=2, kind="cores")


@pytest.mark.parametrize("kind", SPACES)
def test_any_optimizer_steps_in_it_with_state_of_its_size(kind):
    space = SPACES[kind]()
    goal = jax.tree.map(jnp.add, PARAMS, space.lift(coords_like(space, 7)))

    def loss(params):
        each = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, goal)
        return sum(jax.tree.leaves(each))

    optimizer = in_subspace(space, optax.adam(0.05))

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params: Any = PARAMS
    state: Any = optimizer.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):  # Adam's own
        for _ in range(150):
            params, state = step(params, state)
    assert loss(params) < 0.1 * loss(PARAMS)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.inner)) == 2 * 20 + 1
    # the steps taken are where the coordinates say
    np.testing.assert_allclose(flat(params), flat(space.shifted(PARAMS, state.coords)), atol=1e-4)


@pytest.mark.parametrize("kind", ["factored", "xs", "layer"])
@pytest.mark.parametrize("feedback", [False, True])
def test_rbd_in_it_redraws_and_descends(kind, feedback):
    loss = lambda params: sum(jnp.sum(x**2) for x in jax.tree.leaves(params))  # noqa: E731
    located = {} if kind == "layer" else {"rank": 2}
    optimizer = rbd(PARAMS, 0.02, dim=20, space=kind, error_feedback=feedback, **located)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(20):
        params, state = step(params, state)
    assert loss(params) < loss(PARAMS)


def test_feedback_needs_directions_that_do_not_stretch():
    with pytest.raises(InvalidInput, match="missed would grow"):
        in_subspace(SPACES["factors"](), None, error_feedback=True)
