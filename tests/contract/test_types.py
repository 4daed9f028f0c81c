"""Every method keeps its parameters' types, and its state the types it starts with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from problems import START
from test_methods import PLAIN, build

import subspace
from subspace.optim.in_subspace import subspace_state

KINDS = {
    "float64": ("float64", "float64"),
    "float32": ("float32", "float32"),
    "bfloat16": ("bfloat16", "bfloat16"),
    "float16": ("float16", "float16"),
    "float64 and float32": ("float64", "float32"),
    "bfloat16 and float32": ("bfloat16", "float32"),
}
STRONG = {"error_feedback": True, "recent": 3}
CASES = [(name, {}) for name in PLAIN] + [("rbd", STRONG), ("pbfgs", {"alpha": 0.1})]


def params_of(kind):
    first, second = KINDS[kind]
    layer = jax.tree.map(lambda leaf: leaf.astype(first), START["layer"])
    return {"layer": layer, "out": START["out"].astype(second)}


def types(tree):
    return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]


def loss_of(params):
    wide = jax.tree.map(lambda leaf: leaf.astype(float), params)  # float64 under x64
    return 0.5 * sum(jnp.sum((leaf - 1) ** 2) for leaf in jax.tree.leaves(wide))


def stepper(optimizer):
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss_of)(params)
        extra = {"value": value, "grad": grads, "value_fn": loss_of}
        updates, state = optimizer.update(grads, state, params, **extra)
        moved = jax.tree.map(lambda p, u: p + u, params, updates)
        return (moved, state), updates

    return step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_updates_have_the_parameters_types_and_a_state_keeps_its_own(name, options, kind):
    with jax.enable_x64(kind.startswith("float64")):
        params = params_of(kind)
        optimizer = build(name, "countsketch", params=params, **options)
        state = optimizer.init(params)
        (_, after), updates = jax.eval_shape(stepper(optimizer), (params, state), None)
        assert types(after) == types(jax.eval_shape(lambda: state))
        assert [leaf.dtype for leaf in jax.tree.leaves(updates)] == [
            leaf.dtype for leaf in jax.tree.leaves(params)
        ]


@pytest.mark.parametrize("name", ["rbd", "psgd"])
def test_float64_parameters_train_in_a_scan(name):
    with jax.enable_x64(True):
        params = params_of("float64")
        optimizer = build(name, "countsketch", learning_rate=0.1, params=params)
        scanned = jax.jit(lambda carry: jax.lax.scan(stepper(optimizer), carry, None, length=20))
        (after, _), _ = scanned((params, optimizer.init(params)))
        assert loss_of(after) < loss_of(params)


def test_error_feedback_keeps_in_float32_what_bfloat16_would_lose():
    params = {"w": jnp.zeros(64, jnp.bfloat16)}
    optimizer = subspace.rbd(params, 1.0, dim=4, error_feedback=True)
    update, state = jax.jit(optimizer.update), optimizer.init(params)
    total, followed = jnp.zeros(64), jnp.zeros(64)
    for i in range(50):
        grad = jnp.sin(jnp.arange(64.0) + i) * 10 ** -(i / 20)
        updates, state = update({"w": grad}, state)
        total, followed = total + grad, followed - updates["w"].astype(jnp.float32)
    found = subspace_state(state)
    assert found is not None
    (missed,) = jax.tree.leaves(found.residual)
    assert missed.dtype == jnp.float32
    gap = jnp.linalg.norm(total - followed - missed[0]) / jnp.linalg.norm(total)
    assert gap < 2e-2  # the updates themselves are rounded to bfloat16
