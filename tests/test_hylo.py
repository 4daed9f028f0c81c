"""HyLo as an Optax transformation: what a step is, when rows are refreshed, and that it trains."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from subspace.capture import as_matrix, capture, layers
from subspace.errors import InvalidInput
from subspace.hylo import hylo, scale_by_curvature
from subspace.lowrank import factor, keep, precondition
from subspace.models import FC

SIZE = 40


def loss(model, example):
    image, label = example
    return optax.softmax_cross_entropy_with_integer_labels(model(image), label)


@pytest.fixture(scope="module")
def problem():
    pixels, targets = load_digits(return_X_y=True)
    images = jnp.asarray(pixels.reshape(-1, 8, 8, 1) / 16, jnp.float32)
    params, static = eqx.partition(FC((8, 8, 1), 10, key=jax.random.key(0)), eqx.is_array)
    return params, static, (images, jnp.asarray(targets))


def batch(examples, i):
    return jax.tree.map(lambda x: x[i * SIZE : (i + 1) * SIZE], examples)


def trained(problem, optimizer, steps):
    params, static, examples = problem

    @jax.jit
    def step(params, state, part):
        def mean(params):
            return jnp.mean(jax.vmap(loss, in_axes=(None, 0))(eqx.combine(params, static), part))

        value, grads = jax.value_and_grad(mean)(params)

        def rows_fn(params):
            return capture(eqx.combine(params, static), loss, part)

        updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn)
        return optax.apply_updates(params, updates), state, value, grads

    state, values, states = optimizer.init(params), [], []
    for i in range(steps):
        params, state, value, grads = step(params, state, batch(examples, i))
        values.append(float(value))
        states.append((state, grads))
    return params, values, states


def test_a_step_is_the_damped_inverse_of_the_batchs_fisher_matrix(problem):
    params, static, examples = problem
    options = {"batch_size": SIZE, "epoch": 10, "kind": "sngd", "damping": 0.1}
    new, _, ((_, grads),) = trained(problem, hylo(params, 0.5, **options), 1)
    rows = capture(eqx.combine(params, static), loss, batch(examples, 0))
    for path, layer in layers(grads).items():
        kept = keep("sngd", rows[path], SIZE, jax.random.key(0))
        step = precondition(factor(kept, SIZE, 0.1), as_matrix(layer), 0.1)
        moved = as_matrix(layers(params)[path]) - as_matrix(layers(new)[path])
        np.testing.assert_allclose(moved, 0.5 * step, rtol=1e-3, atol=1e-5)


def test_exact_natural_gradients_need_fewer_steps_than_sgd(problem):
    """Each at the best of its learning rates."""
    params = problem[0]

    def best(make, rates):
        return min(np.mean(trained(problem, make(rate), 40)[1][-10:]) for rate in rates)

    options = {"batch_size": SIZE, "epoch": 20, "kind": "sngd", "refresh": 1}
    ours = best(lambda rate: hylo(params, rate, damping=0.3, **options), (0.4, 0.7))
    theirs = best(lambda rate: optax.with_extra_args_support(optax.sgd(rate)), (0.3, 0.6, 1.2))
    assert ours < 0.85 * theirs


def test_rows_are_refreshed_when_due(problem):
    options = {"batch_size": SIZE, "epoch": 3, "refresh": 2, "rank": 0.1}
    optimizer = scale_by_curvature(problem[0], kind="hylo", threshold=1e9, **options)
    _, _, states = trained(problem, optax.chain(optimizer, optax.scale(-1e-3)), 7)
    found = [state[0] for state, _ in states]
    # two epochs are KID's (steps 0, 2 and 4); after them no change is large enough: 6 is KIS's
    assert [tuple(map(int, one.refreshes)) for one in found] == [
        *[(1, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 0), (3, 1)]
    ]
    assert found[0].factors[".hidden"].rows.inputs.shape == (4, 65)
    assert eqx.tree_equal(found[0].factors, found[1].factors)
    assert not eqx.tree_equal(found[1].factors, found[2].factors)


def test_a_large_change_of_the_gradient_is_a_critical_phase(problem):
    options: dict[str, Any] = {"batch_size": SIZE, "epoch": 2, "refresh": 1}
    for threshold, expected in ((0.0, (6, 0)), (1e9, (4, 2))):  # the first change is infinite
        optimizer = scale_by_curvature(problem[0], threshold=threshold, **options)
        _, _, states = trained(problem, optax.chain(optimizer, optax.scale(-1e-3)), 6)
        assert tuple(map(int, states[-1][0][0].refreshes)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "kfac"},
        {"rank": 0},
        {"rank": 1.5},
        {"damping": 0.0},
        {"refresh": 0},
        {"threshold": -1.0},
    ],
)
def test_bad_input(problem, change):
    with pytest.raises(InvalidInput, match=next(iter(change))):
        hylo(problem[0], 0.1, **{"batch_size": SIZE, "epoch": 5} | change)


def test_a_model_without_layers_is_refused():
    with pytest.raises(InvalidInput, match="no dense or convolutional"):
        hylo({"w": jnp.zeros(3)}, 0.1, batch_size=4, epoch=5)
