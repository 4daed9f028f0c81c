"""The model zoo: sizes, layers against independent computations, batch statistics, errors."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from subspace import models
from subspace.errors import InvalidInput
from subspace.models import CNN, FC, MODELS, BatchNorm, Conv, Dense, ResNet, max_pool, with_axis
from subspace.models.resnet import residual_block

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def some_images(shape, batch=4, seed=1):
    return np.random.default_rng(seed).normal(1.0, 2.0, (batch, *shape)).astype(np.float32)


def naive_count(model):
    return sum(x.size for x in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def test_parameter_counts_are_the_published_ones():
    cifar = (32, 32, 3)
    made = [FC((28, 28, 1), 10, key=KEY), FC(cifar, 10, key=KEY)]
    made += [CNN((28, 28, 1), 10, key=KEY), CNN(cifar, 10, key=KEY)]
    made += [ResNet(cifar, 10, key=KEY), ResNet(cifar, 10, key=KEY, blocks=5)]
    expected = [101_770, 394_634, 93_322, 122_570, 78_330, 467_194]
    assert [naive_count(m) for m in made] == expected
    assert [models.parameter_count(m) for m in made] == expected


def small_resnet():
    """Every kind of block, at a fraction of the time that XLA takes to compile ResNet-32."""
    return eqx.nn.make_with_state(ResNet)((7, 8, 3), 5, key=KEY, blocks=2)


def one_block():
    return eqx.nn.make_with_state(residual_block)(3, 5, key=KEY, stride=2, project=True)


def test_a_resnet_starts_as_it_did_in_earlier_versions():
    """An entry of each matrix, leaf for leaf, and what becomes of an image."""
    key = jax.random.key(3, impl="threefry2x32")
    model, state = models.build("resnet8", (8, 8, 1), 10, key=key)
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    entries = [float(np.ravel(leaf)[1]) for leaf in leaves if leaf.ndim > 1]
    expected = [
        *(-0.18060747, -0.05159019, 0.02275760, -0.05261487, 0.09851354, 0.04594763),
        *(0.04673327, 0.04311315, 0.06030022, 0.16258264, 0.02377020),
    ]
    np.testing.assert_allclose(entries, expected, rtol=1e-6)
    images = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 8, 8, 1)
    logits, _ = jax.jit(lambda images: models.apply(model, state, images))(images)
    expected = [
        *(0.74955463, 1.88880599, 0.40073863, 0.75147349, -0.95525324),
        *(0.78003436, 0.46676049, 0.52847832, 0.32938901, -0.81866711),
    ]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if MODELS[name].takes in ("images", "any")]
)
def test_every_name_makes_a_model_of_one_logit_a_class(name):
    images = jnp.zeros((2, 32, 36, 3))

    def run(key):
        model, state = models.build(name, (32, 36, 3), 7, key=key)
        return state, models.apply(model, state, images)

    old, (logits, new) = eqx.filter_eval_shape(run, KEY)
    assert logits == jax.ShapeDtypeStruct((2, 7), jnp.float32)
    assert eqx.tree_equal(new, old)
    assert MODELS[name].description
    assert MODELS[name].source


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: models.build("fc", (8, 8, 1), 5, key=KEY), (8, 8, 1)),
        (lambda: models.build("cnn", (18, 19, 1), 5, key=KEY), (18, 19, 1)),
        (small_resnet, (7, 8, 3)),
    ],
    ids=["fc", "cnn", "resnet"],
)
def test_logits_and_gradients_are_finite_and_float32_under_jit(make, shape):
    model, state = make()
    images = jnp.asarray(some_images(shape))

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def gradient(model, state, images):
        logits, state = models.apply(model, state, images)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0]), (logits, state)

    grads, (logits, new_state) = gradient(model, state, images)
    assert logits.shape == (4, 5)
    for leaf in jax.tree.leaves((grads, logits, new_state)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
    assert naive_count(grads) == models.parameter_count(model)
    # Parameters that the loss ignores would pass unnoticed otherwise.
    assert all(np.any(np.asarray(g) != 0) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", ["fc", "cnn", "resnet8"])
def test_the_key_decides_the_weights(name):
    def weights(seed):
        model, _ = models.build(name, (20, 19, 3), 7, key=jax.random.key(seed))
        return [np.asarray(x) for x in jax.tree.leaves(model) if eqx.is_array(x) and x.ndim > 1]

    for first, again, other in zip(weights(0), weights(0), weights(1), strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.mean(first == other) < 0.01


@pytest.mark.parametrize(
    ("layer", "fans"),
    [(Dense(50, 70, key=KEY), 50 + 70), (Conv(8, 24, 3, key=KEY), 9 * (8 + 24))],
    ids=["dense", "conv"],
)
def test_weights_start_glorot_uniform_and_biases_at_zero(layer, fans):
    limit = np.sqrt(6 / fans)
    weight = np.asarray(layer.weight)
    assert np.abs(weight).max() <= limit
    assert np.abs(weight).max() > 0.98 * limit
    np.testing.assert_allclose(weight.std(), limit / np.sqrt(3), rtol=0.05)
    assert abs(weight.mean()) < 4 * limit / np.sqrt(3 * weight.size)
    assert not np.any(layer.bias)


@pytest.mark.parametrize("bias", [True, False])
def test_conv_is_cross_correlation(bias):
    conv = Conv(3, 4, 3, key=KEY, bias=bias)
    if bias:
        conv = eqx.tree_at(lambda c: c.bias, conv, jnp.arange(4, dtype=jnp.float32))
    image = some_images((9, 7, 3))[0]
    kernel = np.asarray(conv.weight)
    expected = [
        sum(correlate(image[..., i], kernel[..., i, o], "valid") for i in range(3)) + o * bias
        for o in range(4)
    ]
    np.testing.assert_allclose(conv(jnp.asarray(image)), np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize(("size", "side"), [(3, 9), (3, 8), (1, 9)])
def test_strided_same_conv_agrees_with_equinox(size, side):
    conv = Conv(3, 4, size, key=KEY, stride=2, padding="SAME", bias=False)
    theirs = eqx.nn.Conv2d(3, 4, size, stride=2, padding="SAME", use_bias=False, key=KEY)
    theirs = eqx.tree_at(lambda c: c.weight, theirs, conv.weight.transpose(3, 2, 0, 1))
    image = jnp.asarray(some_images((side, side, 3))[0])
    expected = theirs(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert expected.shape == (-(-side // 2), -(-side // 2), 4)
    np.testing.assert_allclose(conv(image), expected, atol=1e-5)


def test_a_batch_is_one_convolution():
    conv = Conv(3, 4, 3, key=KEY)
    jaxpr = jax.make_jaxpr(jax.vmap(conv))(jnp.zeros((5, 9, 9, 3)))
    shapes = [
        eqn.outvars[0].aval.shape  # pyright: ignore[reportAttributeAccessIssue]
        for eqn in jaxpr.eqns
        if eqn.primitive.name == "conv_general_dilated"
    ]
    assert shapes == [(5, 7, 7, 4)]


def test_max_pool_takes_squares_and_drops_odd_edges():
    image = some_images((5, 7, 2))[0]
    pooled = max_pool(jnp.asarray(image))
    assert pooled.shape == (2, 3, 2)
    for row in range(2):
        for col in range(3):
            square = image[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
            np.testing.assert_array_equal(pooled[row, col], square.max((0, 1)))


def norm_and_state():
    norm, state = eqx.nn.make_with_state(BatchNorm.of)(3)
    scale, shift = jnp.array([1.0, 2.0, 3.0]), jnp.array([-1.0, 0.0, 1.0])
    return eqx.tree_at(lambda n: (n.scale, n.shift), norm, (scale, shift)), state


def test_batch_norm_normalises_with_the_statistics_of_the_batch():
    norm, state = norm_and_state()
    images = some_images((5, 4, 3)) + np.float32(100)  # where E[x²] - E[x]² would lose digits
    out, state = models.apply(norm, state, jnp.asarray(images))
    mean, variance = images.astype(float).mean((0, 1, 2)), images.astype(float).var((0, 1, 2))
    expected = (images - mean) / np.sqrt(variance + norm.eps) * norm.scale.tolist()
    np.testing.assert_allclose(out, expected + norm.shift.tolist(), atol=2e-4)
    running_mean, running_variance = state.get(norm.running)
    np.testing.assert_allclose(running_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(running_variance, 0.9 + 0.1 * variance, rtol=1e-5)


def test_batch_norms_derivatives_are_those_of_its_definition():
    """The first and the second, forward over reverse, in images, scale, shift and statistics."""
    norm, state = norm_and_state()
    images, direction, weight = (jnp.asarray(some_images((5, 4, 3), seed=s)) for s in (1, 2, 3))

    def ours(images, scale, shift):
        made = eqx.tree_at(lambda n: (n.scale, n.shift), norm, (scale, shift))
        return jnp.sum(jnp.sin(models.apply(made, state, images)[0]) * weight)

    def plain(images, scale, shift):
        centred = images - jnp.mean(images, axis=(0, 1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=(0, 1, 2), keepdims=True)
        out = centred * jax.lax.rsqrt(variance + norm.eps) * scale[None, None, None]
        return jnp.sum(jnp.sin(out + shift[None, None, None]) * weight)

    at = (images, norm.scale, norm.shift)
    along = (direction, jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 0.3, -2.0]))
    both = [jax.jvp(jax.grad(f, (0, 1, 2)), at, along) for f in (ours, plain)]
    for computed, expected in zip(*(jax.tree.leaves(x) for x in both), strict=True):
        np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-3)


def test_inference_mode_uses_the_running_statistics_and_leaves_them():
    norm, state = norm_and_state()
    _, state = models.apply(norm, state, jnp.asarray(some_images((5, 4, 3))))
    mean, variance = (np.asarray(x) for x in state.get(norm.running))
    images = some_images((5, 4, 3), seed=2)
    out, after = models.apply(eqx.nn.inference_mode(norm), state, jnp.asarray(images))
    expected = (images - mean) / np.sqrt(variance + norm.eps) * norm.scale.tolist()
    np.testing.assert_allclose(out, expected + norm.shift.tolist(), atol=1e-5)
    assert eqx.tree_equal(state, after)


def test_in_inference_mode_an_image_does_not_depend_on_its_batch():
    block, state = one_block()
    apply = eqx.filter_jit(models.apply)
    images = jnp.asarray(some_images((8, 8, 3)))
    trained, state = apply(block, state, images)
    block = eqx.nn.inference_mode(block)
    out, _ = apply(block, state, images)
    alone, _ = apply(block, state, images[:1])
    np.testing.assert_allclose(alone, out[:1], rtol=1e-5, atol=1e-5)
    assert not np.allclose(trained, out, atol=0.1)


def test_shards_normalise_as_one_batch():
    block, state = one_block()
    images = jnp.asarray(some_images((8, 8, 3)))
    images = images * jnp.arange(1.0, 5.0)[:, None, None, None]  # so that the shards differ

    def whole(block):
        return models.apply(block, state, images)

    def sharded(block):
        def shard(images):
            return models.apply(with_axis(block, ("batch", "data")), state, images)

        shards = images.reshape(2, 2, 8, 8, 3)
        out, new = jax.vmap(shard, axis_name="data", out_axes=(0, None))(shards)
        return out.reshape(4, 4, 4, 5), new

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def gradient(block, forward):
        out, new = forward(block)
        return jnp.mean(out**3), (out, new)

    one, two = gradient(block, whole), gradient(block, sharded)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_with_axis_changes_nothing_but_the_axis():
    model, _ = models.build("resnet8", (8, 8, 3), 10, key=KEY)
    other = with_axis(model, ["batch", "data"])
    assert other.stem.norm.axis_name == ("batch", "data")
    assert other.blocks[2].shortcut.norm.axis_name == ("batch", "data")
    assert eqx.tree_equal(with_axis(other, "batch"), model)


def test_state_is_made_of_arrays_that_can_be_donated():
    model, state = models.build("resnet8", (8, 8, 3), 10, key=KEY)
    leaves = jax.tree.leaves(state)
    assert len(leaves) == 2 * 10
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    arrays, static = eqx.partition(model, eqx.is_array)

    def step(state, arrays, images):
        return models.apply(eqx.combine(arrays, static), state, images)[1]

    step = jax.jit(step, donate_argnums=0)
    images = jnp.asarray(some_images((8, 8, 3)))
    state = step(state, arrays, images)
    once = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    twice = jax.tree.leaves(step(state, arrays, images))
    assert all(np.any(a != np.asarray(b)) for a, b in zip(once, twice, strict=True))


def test_a_stateless_model_has_an_empty_state():
    model, state = models.build("fc", (8, 8, 1), 10, key=KEY)
    assert jax.tree.leaves(state) == []
    images = jnp.asarray(some_images((8, 8, 1)))
    logits, same = models.apply(model, state, images)
    assert same is state
    np.testing.assert_array_equal(logits, models.apply(model, None, images)[0])


def test_a_model_of_your_own_can_be_stateful():
    own, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(8, "batch", mode="batch")
    images = jnp.asarray(some_images((8, 8, 1)))
    out, new = models.apply(own, state, images)
    assert out.shape == images.shape
    assert not eqx.tree_equal(state, new)


@pytest.mark.parametrize("make", [CNN, lambda *a, key: models.build("cnn", *a, key=key)])
def test_images_too_small_for_the_cnn(make):
    with pytest.raises(InvalidInput, match=r"at least 18x18 pixels.* 17x32; use fc or resnet8"):
        make((17, 32, 3), 10, key=KEY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet9", (8, 8, 3), 10), "did you mean 'resnet8'.*fc, cnn, resnet8, resnet32"),
        (("CNN", (28, 28, 3), 10), "choose from: fc, cnn"),
        (("?", (8, 8, 3), 10), "unknown model '[?]'; choose from: fc"),
        (("cnn", (28, 28), 10), r"\(height, width, channels\).*are \(28, 28\)"),
        (("fc", (28, 28, 0), 10), "each side at least 1"),
        (("cnn", (28, 28, 0), 10), "each at least 1"),
        (("fc", (28, 28, 1), 0), "at least one class, got 0"),
    ],
)
def test_unusable_requests_say_what_to_do(arguments, message):
    with pytest.raises(InvalidInput, match=message) as error:
        models.build(*arguments, key=KEY)
    assert error.value.field == "model"


def test_a_resnet_needs_blocks():
    with pytest.raises(InvalidInput, match="blocks >= 1"):
        ResNet((8, 8, 3), 10, key=KEY, blocks=0)
