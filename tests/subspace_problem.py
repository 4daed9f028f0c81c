"""A smooth convex loss of 60 parameters, minimised in a fixed subspace of 12 dimensions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subspace import RandomSubspace


def loss(params):
    return jnp.sum(jnp.cosh(params["w"] - jnp.arange(60, dtype=jnp.float32) / 30))


def descend(method, basis, steps):
    """The projected gradient after some steps, and the loss before and after."""
    start = {"w": jnp.asarray(np.random.default_rng(1).normal(size=60), jnp.float32)}
    space = RandomSubspace(start, dim=12, basis=basis, redraw_every=None)
    optimizer = method(space)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
        return optax.apply_updates(params, updates), state

    params, state = start, optimizer.init(start)
    for _ in range(steps):
        params, state = step(params, state)
    return space.project(jax.grad(loss)(params))["whole"], loss(start), loss(params)
