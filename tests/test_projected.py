"""P+BFGS: P-BFGS inside the subspace, SGD on what is outside it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from subspace_problem import descend, loss

from subspace import RandomSubspace, p_bfgs, p_plus_bfgs


def step_of(optimizer, start) -> tuple[Any, Any]:
    value, grads = jax.value_and_grad(loss)(start)
    updates, _ = optimizer.update(grads, optimizer.init(start), start, value=value, value_fn=loss)
    return updates["w"], grads["w"]


def test_without_alpha_it_is_p_bfgs():
    _, _, plain = descend(p_bfgs, "hadamard", 5)
    _, _, same = descend(p_plus_bfgs, "hadamard", 5)
    assert plain == same


def test_the_residual_is_what_projection_leaves_of_the_gradient():
    start = {"w": jnp.asarray(np.random.default_rng(1).normal(size=60), jnp.float32)}
    space = RandomSubspace(start, dim=12, basis="hadamard", redraw_every=None)
    inside, grads = step_of(p_bfgs(space), start)
    both, _ = step_of(p_plus_bfgs(space, alpha=0.5), start)
    rest = {"w": (both - inside) / -0.5}
    within = space.lift(space.project({"w": grads}))["w"]
    np.testing.assert_allclose(rest["w"], grads - within, atol=1e-5)
    np.testing.assert_allclose(space.project(rest)["whole"], np.zeros(12), atol=1e-5)


def test_it_goes_below_what_the_subspace_allows():
    _, _, best_inside = descend(p_bfgs, "hadamard", 40)
    _, _, outside = descend(lambda space: p_plus_bfgs(space, alpha=0.1), "hadamard", 40)
    assert outside < 0.8 * best_inside
    minimum = loss({"w": jnp.arange(60, dtype=jnp.float32) / 30})
    np.testing.assert_allclose(outside, minimum, rtol=0.05)


def test_the_trace_outside_has_momentum():
    start = {"w": jnp.ones(60)}
    space = RandomSubspace(start, dim=12, redraw_every=None)
    gradient, updates = {"w": jnp.arange(60.0)}, {}
    for momentum in (0.0, 0.5):
        optimizer: Any = p_plus_bfgs(space, alpha=0.1, momentum=momentum)
        state = optimizer.init(start)
        for _ in range(2):
            step, state = optimizer.update(
                gradient, state, start, value=jnp.float32(0), value_fn=lambda _: jnp.float32(0)
            )
        updates[momentum] = step["w"]
    # the loss is flat, so that nothing moves inside; outside 1 + 1/2 times as far as without
    np.testing.assert_allclose(updates[0.5], 1.5 * updates[0.0], rtol=1e-4, atol=1e-4)
