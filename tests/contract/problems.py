"""Small convex problems, and the plain Optax loop that everyone writes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subspace.optim.in_subspace import coordinates

SHAPES = {"layer": {"w": (8, 6), "b": (6,)}, "out": (7,)}
SIZE = 61


def filled(seed):
    """Random parameters."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda node: isinstance(node, tuple),
    )


START, TARGET = filled(0), filled(1)


def loss(params, target=TARGET):
    """½‖params - target‖²: the gradient is params - target."""
    gaps = jax.tree.map(jnp.subtract, params, target)
    return 0.5 * sum(jnp.sum(gap**2) for gap in jax.tree.leaves(gaps))


def make_step(optimizer, loss=loss):
    """A jitted ``step(params, state)``; both are donated."""

    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grads, "value_fn": loss}
        updates, state = optimizer.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def train(optimizer, steps, loss=loss, step=None):
    """Parameters and state after some steps; compiles once or fails."""
    step = step or make_step(optimizer, loss)
    params, state = jax.tree.map(jnp.array, START), optimizer.init(START)
    for _ in range(steps):
        params, state = step(params, state)
    compilations = step._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    assert compilations == 1, "recompiles after the first step"
    return params, state


def coords_of(state):
    """The coordinates of a subspace that is not divided."""
    found = coordinates(state)
    assert found is not None
    return np.asarray(found["whole"])


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def close(a, b, atol=1e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    np.testing.assert_allclose(flat(a), flat(b), atol=atol)
