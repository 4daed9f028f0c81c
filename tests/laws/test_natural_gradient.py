"""Captured rows are per-example gradients, and what is made of them inverts the Fisher matrix."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from subspace.errors import InvalidInput
from subspace.models import Conv, Dense
from subspace.natural.capture import Rows, as_matrix, capture, from_matrix, layers
from subspace.natural.curvature import Seen
from subspace.natural.lowrank import Kept, LowRank, factor, keep, kernel, precondition
from subspace.natural.memory import Memory
from subspace.optim.workers import AxisWorkers, OneWorker

N, CLASSES = 12, 3


class Net(eqx.Module):
    """Every layer that can be captured: convolutions and affine maps, ours and Equinox's."""

    first: Conv
    second: eqx.nn.Conv2d
    third: eqx.nn.Linear
    last: Dense

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.first = Conv(2, 3, 3, key=keys[0], stride=2, padding="SAME")
        self.second = eqx.nn.Conv2d(3, 4, 2, padding=1, use_bias=False, key=keys[1])
        self.third = eqx.nn.Linear(4 * 5 * 5, 6, key=keys[2])
        self.last = Dense(6, CLASSES, key=keys[3])

    def __call__(self, x):
        x = jnp.transpose(jnp.tanh(self.first(x)), (2, 0, 1))
        x = jnp.tanh(self.third(jnp.tanh(self.second(x)).reshape(-1)))
        return self.last(x)


def loss(model, example):
    image, label = example
    return optax.softmax_cross_entropy_with_integer_labels(model(image), label)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(N, 7, 8, 2)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, CLASSES, N))
    model = Net(jax.random.key(0))
    each = eqx.filter_vmap(eqx.filter_grad(loss), in_axes=(None, 0))
    found = eqx.filter_jit(lambda m, e: (capture(m, loss, e), each(m, e)))
    rows, gradients = found(model, (images, labels))
    return model, rows, layers(gradients), images


def products(rows: Rows) -> np.ndarray:
    """U: every example's gradient, a row of a·b numbers."""
    inputs, outputs = (np.asarray(x, np.float64) for x in rows)
    return np.einsum("na,nb->nab", inputs, outputs).reshape(len(inputs), -1)


def matrices(gradients) -> np.ndarray:
    return np.asarray(jax.vmap(as_matrix)(gradients)).reshape(N, -1)


def test_rows_of_affine_layers_are_per_example_gradients(problem):
    _, rows, gradients, _ = problem
    assert rows.keys() == gradients.keys() == {".first", ".second", ".third", ".last"}
    for path in (".third", ".last"):
        np.testing.assert_allclose(
            products(rows[path]), matrices(gradients[path]), rtol=1e-4, atol=1e-6
        )


def test_rows_of_convolutions_are_mean_patches_and_summed_gradients(problem):
    """Mean over positions times sum over positions, where the gradient is a sum of products."""
    model, rows, _, images = problem
    patches = lax.conv_general_dilated_patches(
        images, (3, 3), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean = patches.mean(axis=(1, 2)).reshape(N, 2, 9).transpose(0, 2, 1).reshape(N, -1)
    inputs = rows[".first"].inputs
    np.testing.assert_allclose(inputs[:, :-1], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(inputs[:, -1], 1)
    bias = eqx.filter_vmap(eqx.filter_grad(loss), in_axes=(None, 0))(
        model, (images, jnp.zeros(N, int))
    )
    again = capture(model, loss, (images, jnp.zeros(N, int)))
    np.testing.assert_allclose(again[".first"].outputs, bias.first.bias, rtol=1e-4, atol=1e-6)


def test_a_convolution_at_one_position_is_exact():
    model = Conv(2, 3, 4, key=jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (N, 4, 4, 2))

    def square(model, image):
        return jnp.sum(model(image) ** 2)

    rows = capture(model, square, images)[""]
    gradients = eqx.filter_vmap(eqx.filter_grad(square), in_axes=(None, 0))(model, images)
    np.testing.assert_allclose(products(rows), matrices(gradients), rtol=1e-4, atol=1e-5)


def test_matrices_and_layers_are_the_same_numbers(problem):
    model = problem[0]
    for layer in layers(model).values():
        back = from_matrix(as_matrix(layer), layer)
        assert eqx.tree_equal(back, layer)


def dense_inverse(rows: Rows, gradient, damping) -> np.ndarray:
    """(F + αI)⁻¹ g with F built from its n gradients."""
    u = products(rows)
    fisher = u.T @ u / len(u)
    flat = np.asarray(gradient, np.float64).reshape(-1)
    return np.linalg.solve(fisher + damping * np.eye(len(fisher)), flat).reshape(gradient.shape)


def random_rows(n=N, a=5, b=4, seed=0) -> Rows:
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(size=(n, 1))
    shapes = ((n, a), (n, b))
    inputs, outputs = (jnp.asarray(rng.normal(size=shape) * scale, jnp.float32) for shape in shapes)
    return Rows(inputs, outputs)


def inverse(kind, rows, count, gradient, damping, seed=0):
    kept = keep(kind, rows, count, jax.random.key(seed))
    return precondition(factor(kept, len(rows.inputs), damping), gradient, damping)


@pytest.mark.parametrize("damping", [0.01, 0.3, 10.0])
def test_sngd_inverts_the_damped_fisher_matrix(problem, damping):
    _, rows, gradients, _ = problem
    for path, found in rows.items():
        gradient = jax.vmap(as_matrix)(gradients[path]).mean(axis=0)
        ours = inverse("sngd", found, N, gradient, damping)
        exact = dense_inverse(found, gradient, damping)
        assert np.linalg.norm(ours - exact) < 1e-4 * np.linalg.norm(exact)


@pytest.mark.parametrize("kind", ["kid", "kis"])
def test_at_full_rank_both_are_exact(kind):
    rows, gradient = random_rows(), jnp.ones((5, 4))
    full = inverse("sngd", rows, N, gradient, 0.1)
    np.testing.assert_allclose(inverse(kind, rows, N, gradient, 0.1), full, rtol=1e-5)


def test_kid_is_exact_when_the_kept_rows_span_the_others():
    inputs, outputs = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in random_rows(4))
    scaled = jnp.concatenate([inputs, 0.5 * inputs, -0.2 * inputs])
    rows = Rows(scaled, jnp.tile(outputs, (3, 1)))
    gradient = jnp.ones((5, 4))
    exact = dense_inverse(rows, gradient, 0.1)
    assert np.linalg.norm(inverse("kid", rows, 4, gradient, 0.1) - exact) < 1e-3 * np.linalg.norm(
        exact
    )


def test_kid_comes_nearer_with_more_rows():
    rows, gradient = random_rows(40), jnp.ones((5, 4))
    exact = dense_inverse(rows, gradient, 0.1)
    errors = [np.linalg.norm(inverse("kid", rows, r, gradient, 0.1) - exact) for r in (2, 8, 20)]
    assert errors[0] > errors[1] > errors[2]


def test_kis_is_unbiased():
    """The mean of U_rᵀ S U_r over draws is UᵀU: a weight that is 5% off would show."""
    rows = random_rows(8, 2, 2)
    u = products(rows)
    exact = u.T @ u

    @jax.vmap
    def drawn(key):
        (inputs, outputs), root = keep("kis", rows, 3, key)
        kept = (inputs[:, :, None] * outputs[:, None, :]).reshape(3, -1)
        return kept.T @ (root.T @ root) @ kept

    found = np.asarray(jax.jit(drawn)(jax.random.split(jax.random.key(0), 40_000)), np.float64)
    error = found.std(axis=0) / 200
    assert np.all(np.abs(found.mean(axis=0) - exact) < 4.5 * error)
    assert error.max() < 0.01 * np.abs(exact).max()


@pytest.mark.parametrize("kind", ["sngd", "kid", "kis"])
@pytest.mark.parametrize("damping", [1e-3, 1.0, 1e3])
def test_every_step_is_a_descent_direction(kind, damping):
    for seed in range(5):
        rows = random_rows(20, seed=seed)
        gradient = jax.random.normal(jax.random.key(seed), (5, 4))
        count = 20 if kind == "sngd" else 4
        step = inverse(kind, rows, count, gradient, damping, seed)
        assert jnp.sum(step * gradient) > 0


@pytest.mark.parametrize("kind", ["sngd", "kid", "kis"])
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_nearly_dependent_rows_of_any_length_are_descended_along(kind, scale):
    """The kernel's smallest eigenvalues are then below its rounding errors, of which a step along
    the rows, where little is left of a gradient, has a few percent.
    """
    few, noise = random_rows(6, 30, 20), random_rows(60, 30, 20, seed=1)
    rows = Rows(*(scale * jnp.tile(x, (10, 1)) + 1e-3 * y for x, y in zip(few, noise, strict=True)))
    count = 60 if kind == "sngd" else 40
    for along in range(0, 60, 7):
        gradient = jnp.outer(rows.inputs[along], rows.outputs[along])
        gradient = gradient / jnp.linalg.norm(gradient)
        step = 0.01 * inverse(kind, rows, count, gradient, 0.01)
        assert jnp.sum(step * gradient) > -0.05
        assert jnp.linalg.norm(step) < 1.001


@pytest.mark.parametrize(("kind", "count"), [("sngd", 12), ("kid", 5), ("kis", 5)])
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_keep_what_one_would(kind, count, workers):
    rows, key = random_rows(12), jax.random.key(0)
    shares = Rows(*(x.reshape(workers, 12 // workers, -1) for x in rows))
    alone = keep(kind, rows, count, key)

    def worker(share):
        return keep(kind, share, count, key, AxisWorkers(("workers",)))

    found = jax.vmap(worker, axis_name="workers")(shares)
    for i in range(workers):
        kept = jax.tree.map(lambda x, i=i: x[i], found)
        assert eqx.tree_equal(kept.rows, alone.rows)
        np.testing.assert_allclose(kept.root, alone.root, rtol=1e-3, atol=1e-5)


def test_kernels_are_inner_products_of_gradients():
    rows = random_rows()
    u = products(rows)
    np.testing.assert_allclose(kernel(rows, rows), u @ u.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "count"), [("kdi", 3), ("kid", 0), ("kis", N + 1)])
def test_bad_input(kind, count):
    with pytest.raises(InvalidInput):
        keep(kind, random_rows(), count, jax.random.key(0))


@pytest.mark.parametrize("memory", [1, 3])
def test_a_memory_inverts_the_mean_of_its_refreshes_fisher_matrices(memory):
    """Those that there are, then the last ones; all rows are kept, so that each is exact."""
    curvature = Memory(LowRank(10.0, "kid", N, N), memory)
    state, gradient = curvature.first_factor(5, 4), jnp.ones((5, 4))
    batches = [random_rows(seed=seed) for seed in range(5)]

    @jax.jit
    def refresh(state, rows, key):
        return curvature.next_factor(state, curvature.measure(Seen(rows, key, OneWorker())))

    for i, rows in enumerate(batches):
        state = refresh(state, rows, jax.random.key(i))
        last = batches[max(0, i + 1 - memory) : i + 1]
        exact = dense_inverse(Rows(*map(jnp.concatenate, zip(*last, strict=True))), gradient, 10.0)
        step = curvature.precondition(state, gradient)
        assert np.linalg.norm(step - exact) < 1e-4 * np.linalg.norm(exact)


def test_a_memory_weighs_rows_as_their_refreshes_did():
    """Of a few rows each, by KIS: F̂ is the mean of what single refreshes make of the same rows."""
    low_rank, root = LowRank(0.1, "kis", 4, N), jax.random.key(0)
    keys = [jax.random.fold_in(root, i) for i in range(2)]
    curvature = Memory(low_rank, 2)
    state, fisher = curvature.first_factor(5, 4), np.zeros((20, 20))
    for i, key in enumerate(keys):
        kept = curvature.measure(Seen(random_rows(seed=i), key, OneWorker()))
        state = curvature.next_factor(state, kept)
        rows, weigh = kept
        fisher += products(rows).T @ np.asarray(weigh.T @ weigh) @ products(rows) / N / 2
    gradient = np.arange(20.0, dtype=np.float32)
    exact = np.linalg.solve(fisher + 0.1 * np.eye(20), gradient).reshape(5, 4)
    step = curvature.precondition(state, jnp.asarray(gradient).reshape(5, 4))
    assert np.linalg.norm(step - exact) < 1e-4 * np.linalg.norm(exact)


def test_rows_of_zeros_do_no_harm():
    rows = Rows(*(x.at[3:].set(0) for x in random_rows()))
    for kind in ("kid", "kis"):
        kept = keep(kind, rows, 6, jax.random.key(0))
        assert isinstance(kept, Kept)
        step = precondition(factor(kept, N, 0.1), jnp.ones((5, 4)), 0.1)
        assert jnp.all(jnp.isfinite(step))
