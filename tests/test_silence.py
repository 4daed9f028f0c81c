"""Numbers that would be wrong without a word: shapes, ties, units, searches that stand still."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import subspace
from subspace import RandomSubspace
from subspace.errors import InvalidInput
from subspace.optim.linesearch import search_counts
from subspace.train.remarks import remarks

PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}


def fixed(params: Any, dim: int) -> RandomSubspace:
    return RandomSubspace(params, dim=dim, basis="coordinate", redraw_every=None)


OPTIMIZERS = {
    "rbd": lambda p: subspace.rbd(p, 0.1, dim=3),
    "error feedback": lambda p: subspace.rbd(p, 0.1, dim=3, error_feedback=True),
    "recent": lambda p: subspace.rbd(p, 0.1, dim=3, recent=2),
    "fpd": lambda p: subspace.fpd(p, 0.1, dim=3),
    "nes": lambda p: subspace.nes(p, 0.1, dim=3),
    "in law": lambda p: subspace.rbd_in_law(p, 0.1, dim=3),
    "adam": lambda p: subspace.in_subspace(fixed(p, 3), optax.adam(0.1)),
    "p_bfgs": lambda p: subspace.p_bfgs(fixed(p, 3)),
    "p_newton": lambda p: subspace.p_newton(fixed(p, 3)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(6, 3), (3, 4)])
def test_a_gradient_of_another_shape_is_named(name, shape):
    optimizer = OPTIMIZERS[name](PARAMS)
    state = optimizer.init(PARAMS)
    grads = {"w": jnp.ones(shape), "b": jnp.zeros(3)}
    with pytest.raises(InvalidInput, match=r"\['w'\] has shape"):
        optimizer.update(
            grads, state, PARAMS, value=jnp.float32(1), value_fn=lambda p: jnp.sum(p["w"])
        )


@pytest.mark.parametrize("name", ["adam", "p_bfgs", "p_newton"])
@pytest.mark.parametrize("other", [{"w": jnp.ones((2, 2))}, {"w": jnp.ones((3, 4)), "b": 0.0}])
def test_parameters_of_another_shape_are_named(name, other):
    with pytest.raises(InvalidInput, match="params: "):
        OPTIMIZERS[name](PARAMS).init(other)


@pytest.mark.parametrize("shaping", ["ranks", "normalise", "none"])
def test_evolution_stands_still_where_the_loss_is_flat_and_hides_no_nan(shaping):
    optimizer = subspace.nes(PARAMS, 0.1, dim=3, shaping=shaping)
    state = optimizer.init(PARAMS)
    for value, expected in ((3.0, 0.0), (np.nan, np.nan)):
        loss = jnp.float32(value)
        updates, _ = optimizer.update(PARAMS, state, PARAMS, value=loss, value_fn=lambda p: loss)  # noqa: B023
        np.testing.assert_array_equal(optax.tree.norm(updates), np.float32(expected))


def test_error_feedback_that_would_grow_is_refused():
    with pytest.raises(InvalidInput, match="error_feedback: what is missed would grow"):
        subspace.rbd(PARAMS, 0.1, dim=9, basis="bernoulli_paper", error_feedback=True)
    for basis in ("countsketch", "normal", "sparse", "rademacher"):
        subspace.rbd(PARAMS, 0.1, dim=9, basis=basis, error_feedback=True)


def after(optimizer_of, loss, start, steps=60) -> tuple[float, Any]:
    """The loss after some steps, and the state."""
    params = jnp.asarray(start, jnp.float32)
    optimizer = optimizer_of(fixed(params, params.size))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(
            grads, state, params, value=value, grad=grads, value_fn=loss
        )
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return float(loss(params)), state


@pytest.mark.parametrize("unit", [1.0, 1e4, 1e8, 1e12])
def test_p_bfgs_takes_a_loss_in_any_unit(unit):
    found, _ = after(subspace.p_bfgs, lambda w: unit * jnp.sum((w - 1) ** 2), [0.0, 0.0])
    assert found <= 1e-6 * unit


def test_p_bfgs_fits_a_line_to_years():
    rng = np.random.default_rng(0)
    years = rng.uniform(1990, 2020, 1000).astype(np.float32)
    y = (3 * years - 5000 + rng.normal(size=1000)).astype(np.float32)
    found, _ = after(
        subspace.p_bfgs, lambda w: jnp.sum((w[0] * years + w[1] - y) ** 2), [0.0, 0.0], 100
    )
    assert found < 1e6  # from 1e9; float32 knows the inner products of years to seven digits


@pytest.mark.parametrize(
    "loss",
    [
        lambda w: jnp.sum(optax.losses.huber_loss(w - 1, jnp.zeros(2))),
        lambda w: jnp.sum(jnp.abs(w - 1)),
        lambda w: 1e6 * jnp.sum(jnp.abs(w - 1)),
    ],
)
def test_newton_goes_along_the_gradient_where_nothing_curves(loss):
    found, _ = after(subspace.p_newton, loss, [5.0, 5.0])
    assert found < 0.1 * float(loss(jnp.asarray([5.0, 5.0])))


def test_searches_that_fail_one_after_the_other_are_counted_in_the_state():
    def no_way(w):  # nothing is lower than where it stands, whatever its gradient says
        return jnp.sum(jnp.sin(1e6 * w)) * 0 + jax.lax.stop_gradient(jnp.float32(1)) + 0 * w.sum()

    _, state = after(
        subspace.p_bfgs,
        lambda w: no_way(w) + (w - jax.lax.stop_gradient(w)).sum(),
        [
            1.0,
            2.0,
        ],
        7,
    )
    counts = search_counts(state)
    assert counts is not None
    assert int(counts.failing) == int(counts.searches) == 7


def record(method, loss, **more):
    return {"method": method, "train_loss": loss, **more}


def test_what_is_odd_at_a_phases_end_is_said_with_a_remedy():
    assert list(remarks(record("sgd", 0.5), None)) == []
    assert list(remarks(record("psgd", 0.5), record("dldr", 0.4))) == []
    assert list(remarks(record("pbfgs", 0.1, failing=2), record("dldr", 0.2))) == []
    (said,) = remarks(record("psgd", 2.3), record("dldr", 0.03))
    assert "psgd ended with a training loss of 2.3, and dldr before it with 0.03" in said
    held_out = record("pbfgs", 2.3, validation_loss=0.2), record("sgd", 0.03, validation_loss=0.2)
    assert list(remarks(*held_out)) == []  # a short phase's training loss is of how it began
    (said,) = remarks(record("pbfgs", 0.1, failing=41), None)
    assert "its last 41 line searches found no lower loss" in said
