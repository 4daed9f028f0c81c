"""HyLo as an Optax transformation: what a step is, when rows are refreshed, and that it trains."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from subspace.errors import InvalidInput
from subspace.methods.natural import hylo, kfac, sngd
from subspace.models import FC
from subspace.natural.capture import Rows, as_matrix, capture, layers
from subspace.natural.critical import CriticalEpochs
from subspace.natural.curvature import Seen
from subspace.natural.hybrid import Hybrid
from subspace.natural.kronecker import Kronecker
from subspace.natural.lowrank import LowRank, factor, keep, precondition
from subspace.natural.scale_by_curvature import scale_by_curvature, trace
from subspace.optim.in_subspace import chain, in_subspace
from subspace.optim.workers import OneWorker
from subspace.spaces.random import RandomSubspace

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


def trained(problem, optimizer, steps, known=None):
    """``known``: the steps between refreshes, where the loop says when one is due."""
    params, static, examples = problem

    @functools.partial(jax.jit, static_argnames="due")
    def step(params, state, part, due):
        def mean(params):
            return jnp.mean(jax.vmap(loss, in_axes=(None, 0))(eqx.combine(params, static), part))

        value, grads = jax.value_and_grad(mean)(params)

        def rows_fn(params):
            return capture(eqx.combine(params, static), loss, part)

        updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn, due=due)
        return optax.apply_updates(params, updates), state, value, grads

    state, values, states = optimizer.init(params), [], []
    for i in range(steps):
        due = None if known is None else i % known == 0
        params, state, value, grads = step(params, state, batch(examples, i), due=due)
        values.append(float(value))
        states.append((state, grads))
    return params, values, states


def test_a_step_is_the_damped_inverse_of_the_batchs_fisher_matrix(problem):
    params, static, examples = problem
    new, _, ((_, grads),) = trained(problem, sngd(params, 0.5, batch_size=SIZE, damping=0.1), 1)
    rows = capture(eqx.combine(params, static), loss, batch(examples, 0))
    for path, layer in layers(grads).items():
        kept = keep("sngd", rows[path], SIZE, jax.random.key(0))
        step = precondition(factor(kept, SIZE, 0.1), as_matrix(layer), 0.1)
        moved = as_matrix(layers(params)[path]) - as_matrix(layers(new)[path])
        np.testing.assert_allclose(moved, 0.5 * step, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["sngd", "kfac"])
def test_natural_gradients_need_fewer_steps_than_sgd(problem, name):
    """Each at the best of its learning rates."""
    params = problem[0]

    def best(make, rates):
        return min(np.mean(trained(problem, make(rate), 40)[1][-10:]) for rate in rates)

    makes = {
        "sngd": lambda rate: sngd(params, rate, batch_size=SIZE, refresh=1, momentum=0.0),
        "kfac": lambda rate: kfac(params, rate, refresh=1, momentum=0.0),
    }
    ours = best(makes[name], (0.4, 0.7))
    theirs = best(lambda rate: optax.with_extra_args_support(optax.sgd(rate)), (0.3, 0.6, 1.2))
    assert ours < 0.85 * theirs


def test_kfac_inverts_the_damped_kronecker_product(problem):
    params, static, examples = problem
    _, _, ((state, grads),) = trained(problem, kfac(params, 0.5, damping=0.1), 1)
    rows = capture(eqx.combine(params, static), loss, batch(examples, 0))
    for path, layer in layers(grads).items():
        a, b = (np.asarray(x.T @ x, np.float64) / SIZE for x in rows[path])
        balance = np.sqrt(np.trace(a) / len(a) / (np.trace(b) / len(b)))
        a += np.sqrt(0.1) * balance * np.eye(len(a))
        b += np.sqrt(0.1) / balance * np.eye(len(b))
        gradient = np.asarray(as_matrix(layer), np.float64)
        exact = np.linalg.solve(a, gradient) @ np.linalg.inv(b)
        step = Kronecker(0.1).precondition(state[0].known.factors[path], as_matrix(layer))
        assert np.linalg.norm(step - exact) < 1e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_kfac_of_gradients_of_any_length_is_finite(scale):
    """Of two rows, so that most eigenvalues are nothing beside the others."""
    inputs, outputs = (jax.random.normal(jax.random.key(i), (2, 60)) for i in range(2))
    rows = Rows(jnp.tile(inputs, (20, 1)), scale * jnp.tile(outputs, (20, 1)))
    curvature, gradient = Kronecker(0.01), rows.inputs.T @ rows.outputs
    seen = Seen(rows, jax.random.key(0), OneWorker())
    factor = curvature.next_factor(curvature.first_factor(60, 60), curvature.measure(seen))
    step = curvature.precondition(factor, gradient)
    assert jnp.all(jnp.isfinite(step))
    assert jnp.sum(step * gradient) > 0


def slowly(curvature, params, **options):
    return optax.chain(scale_by_curvature(params, curvature, **options), optax.scale(-1e-3))


def hybrid(*args, **options):
    kid, kis = (LowRank(0.3, kind, 4, SIZE) for kind in ("kid", "kis"))
    return Hybrid(kid, kis, CriticalEpochs(*args, **options))


def test_a_loop_that_knows_when_a_refresh_is_due_has_the_same_steps(problem):
    optimizer = sngd(problem[0], 0.5, batch_size=SIZE, refresh=2)
    decided, _, states = trained(problem, optimizer, 3)
    known, _, known_states = trained(problem, optimizer, 3, known=2)
    for one, other in zip(jax.tree.leaves(known), jax.tree.leaves(decided), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for (state, _), (known_state, _) in zip(states, known_states, strict=True):
        assert trace(state) == trace(known_state)


def kid_and_kis(state):
    figures = trace(state)
    return figures["kid_refreshes"], figures["kis_refreshes"]


def test_rows_are_refreshed_when_due(problem):
    optimizer = slowly(hybrid(3, threshold=1e9), problem[0], refresh=2)
    _, _, states = trained(problem, optimizer, 7)
    found = [state[0].known for state, _ in states]
    # two epochs are KID's (steps 0, 2 and 4); after them no change is large enough: 6 is KIS's
    assert [kid_and_kis(state) for state, _ in states] == [
        *[(1, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 0), (3, 1)]
    ]
    assert trace(states[0][0]) == {"kid_refreshes": 1, "kis_refreshes": 0}  # no change as yet
    assert trace(states[-1][0]).keys() == {"kid_refreshes", "kis_refreshes", "gradient_change"}
    assert found[0].layers.factors[".hidden"].rows.inputs.shape == (4, 65)
    assert eqx.tree_equal(found[0].layers, found[1].layers)
    assert not eqx.tree_equal(found[1].layers.factors, found[2].layers.factors)


@pytest.mark.parametrize(
    ("curvature", "expected"),
    [
        (hybrid(2, threshold=0.0), (6, 0)),  # any change is large
        (hybrid(2, threshold=1e9), (4, 2)),  # only the first is, which is infinite
        (hybrid(1, threshold=1e9, drops=(3,)), (3, 3)),  # epochs 0, 1 and, after a drop, 3
    ],
)
def test_critical_epochs(problem, curvature, expected):
    _, _, states = trained(problem, slowly(curvature, problem[0], refresh=1), 6)
    assert kid_and_kis(states[-1][0]) == expected


def test_a_random_subspace_is_stepped_in_along_natural_gradients(problem):
    params = problem[0]
    inside = in_subspace(RandomSubspace(params, dim=200), optax.sgd(0.05))
    curvature = LowRank(0.3, "kid", 4, SIZE)
    _, values, _ = trained(
        problem, chain(scale_by_curvature(params, curvature, refresh=1), inside), 30
    )
    assert values[-1] < values[0]


MAKE = {
    "hylo": lambda params: hylo(params, 0.01, batch_size=SIZE, steps=2, momentum=0.9),
    "memory": lambda params: hylo(params, 0.01, batch_size=SIZE, steps=2, refresh=2, memory=2),
    "sngd": lambda params: sngd(params, 0.01, batch_size=SIZE, momentum=0.9),
    "kfac": lambda params: kfac(params, 0.01, momentum=0.9),
}


@pytest.mark.parametrize("name", MAKE)
def test_state_is_plain_arrays_of_one_structure_made_of_shapes_alone(problem, name):
    params = problem[0]
    optimizer = MAKE[name](jax.eval_shape(lambda: params))
    start = optimizer.init(params)
    _, _, states = trained(problem, optimizer, 3)
    for state, _ in states:
        assert jax.tree.structure(state) == jax.tree.structure(start)
        for now, then in zip(jax.tree.leaves(state), jax.tree.leaves(start), strict=True):
            assert (now.shape, now.dtype) == (then.shape, then.dtype)
            assert not np.isnan(now).any()


@pytest.mark.parametrize(
    "change",
    [
        {"selection": "kfac"},
        {"rank": 0},
        {"rank": 1.5},
        {"damping": 0.0},
        {"refresh": 0},
        {"threshold": -1.0},
        {"memory": 0},
    ],
)
def test_bad_input(problem, change):
    with pytest.raises(InvalidInput, match=next(iter(change))):
        hylo(problem[0], 0.1, **{"batch_size": SIZE, "steps": 5} | change)


def test_a_model_without_layers_is_refused():
    with pytest.raises(InvalidInput, match="no dense or convolutional"):
        kfac({"w": jnp.zeros(3)}, 0.1)
