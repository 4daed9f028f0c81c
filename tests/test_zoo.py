"""The larger networks: their sizes, their convolutions and pools against plain ones, bad input."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import models
from subspace.errors import InvalidInput
from subspace.models import Conv
from subspace.models.blocks import ConvNorm, Excite, Series, keys_of
from subspace.models.convolve import convolve
from subspace.models.densenet import densenet
from subspace.models.pool import MaxPool, MeanPool
from subspace.models.transformer import Decoder

KEY = jax.random.key(0)
CIFAR = (32, 32, 3)


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("vgg11_bn", 100, 28_518_244),
        ("efficientnet_b0", 100, 4_135_648),
        ("mobilenet", 100, 3_315_428),
        ("densenet121", 100, 7_048_548),
        ("inception_v3", 100, 22_318_148),
        ("xception", 100, 21_013_988),
        ("googlenet", 100, 6_402_564),
        ("shufflenet_v2", 100, 1_360_896),
        ("squeezenet", 100, 781_156),
        ("se_resnet18", 100, 11_314_012),
        ("nasnet", 100, 5_221_624),
        ("resnet18", 100, 11_220_132),
        ("resnet18_imagenet", 1000, 11_689_512),
        ("resnet8_a", 10, 75_290),
        ("resnet20", 10, 269_722),
        ("resnet32_a", 10, 464_154),
        ("resnet44", 10, 658_586),
        ("resnet56", 10, 853_018),
        ("resnet110", 10, 1_727_962),
        ("vit", 100, 1_217_252),
    ],
)
def test_the_number_of_parameters_is_that_of_the_released_definition(name, classes, expected):
    assert models.size(name, CIFAR, classes) == expected


def test_the_size_of_a_model_is_that_of_the_model_made():
    model, _ = models.build("squeezenet", CIFAR, 7, key=KEY)
    assert models.size("squeezenet", CIFAR, 7) == models.parameter_count(model)


def plain_convolution(x, weight, stride, pads, groups):
    return jax.lax.conv_general_dilated(
        x[None],
        weight,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )[0]


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "pads", "groups"),
    [
        ((7, 8, 6), (1, 1, 6, 5), 1, ((0, 0), (0, 0)), 1),
        ((7, 8, 6), (1, 1, 6, 5), 2, ((0, 0), (0, 0)), 1),
        ((3, 4, 6), (3, 3, 6, 5), 1, ((1, 1), (1, 1)), 1),
        ((5, 4, 6), (3, 2, 6, 5), 2, ((1, 0), (0, 1)), 1),
        ((7, 8, 6), (3, 3, 1, 6), 1, ((1, 1), (1, 1)), 6),
        ((25, 8, 6), (5, 3, 1, 6), 2, ((2, 1), (0, 1)), 6),
        ((7, 8, 6), (3, 3, 3, 4), 1, ((1, 1), (1, 1)), 2),
        ((9, 8, 6), (7, 1, 6, 5), 1, ((3, 3), (0, 0)), 1),
    ],
)
def test_every_way_to_convolve_is_the_plain_one_with_its_derivatives(
    image, kernel, stride, pads, groups
):
    at, along = (
        (jax.random.normal(key, (2, *image)), jax.random.normal(key, kernel))
        for key in (KEY, jax.random.key(1))
    )

    def derivatives(f):
        """The output, the gradient and, forward over reverse, how that changes."""

        def total(x, weight):
            y = jax.vmap(lambda one: f(one, weight, stride, pads, groups))(x)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(lambda *at: jax.jvp(jax.grad(total, (0, 1), has_aux=True), at, along))(*at)

    (found, y), changes = derivatives(convolve)
    (expected, plain), plain_changes = derivatives(plain_convolution)
    np.testing.assert_allclose(y, plain, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5)
    for one, other in zip(*map(jax.tree.leaves, (changes, plain_changes)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (3, 2, 0), (2, 2, 0)]
)
def test_pools_are_reductions_of_windows(size, stride, padding):
    x = np.random.default_rng(0).normal(size=(7, 9, 2)).astype(np.float32)

    def reduced(combine, start):
        return jax.lax.reduce_window(
            x,
            jnp.float32(start),
            combine,
            (size, size, 1),
            (stride, stride, 1),
            ((padding, padding), (padding, padding), (0, 0)),
        )

    largest, total = reduced(jax.lax.max, -np.inf), reduced(jax.lax.add, 0)
    np.testing.assert_array_equal(MaxPool(size, stride, padding)(jnp.asarray(x)), largest)
    mean = MeanPool(size, stride, padding)(jnp.asarray(x))
    np.testing.assert_allclose(mean, total / size**2, atol=1e-6)


def test_attention_scales_each_channel_by_a_share_that_the_means_give():
    layer = Excite(4, 2, key=KEY)
    x = jax.random.normal(KEY, (3, 3, 4))
    hidden = np.maximum(np.mean(x, axis=(0, 1)) @ layer.squeeze.weight + layer.squeeze.bias, 0)
    shares = 1 / (1 + np.exp(-(hidden @ layer.excite.weight + layer.excite.bias)))
    np.testing.assert_allclose(layer(x), np.asarray(x) * shares, rtol=1e-5)


def test_a_grouped_kernel_starts_as_wide_as_its_own_inputs_and_outputs_allow():
    layer = Conv(64, 64, 3, key=KEY, groups=64)
    assert layer.weight.shape == (3, 3, 1, 64)
    assert 0.9 < jnp.max(jnp.abs(layer.weight)) / np.sqrt(6 / (9 * 2)) <= 1


def test_a_deep_network_keeps_what_its_layers_see_and_adds_to_it():
    model, state = eqx.nn.make_with_state(densenet)((8, 8, 3), 5, key=KEY, layers=(2, 2), growth=4)
    images = jax.random.normal(KEY, (4, 8, 8, 3))

    @eqx.filter_jit
    @eqx.filter_grad(has_aux=True)
    def gradient(model):
        logits, new = models.apply(model, state, images)
        return jnp.sum(logits[:, 0]), (logits, new)

    grads, (logits, new) = gradient(model)
    assert logits.shape == (4, 5)
    leaves = jax.tree.leaves(eqx.filter(grads, eqx.is_array))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
    assert sum(bool(jnp.any(leaf != 0)) for leaf in leaves) > len(leaves) * 0.9
    assert not eqx.tree_equal(new, state)


def test_each_layer_starts_from_a_key_of_its_own():
    keys = keys_of(KEY)
    blocks = Series(*(ConvNorm(2, 2, 3, key=next(keys)) for _ in range(3)))
    weights = [np.asarray(block.conv.weight) for block in blocks.blocks]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])


def test_a_token_sees_only_those_before_it():
    model = Decoder(10, 8, key=KEY, width=16)
    tokens = jnp.arange(8)
    changed = eqx.filter_jit(model)(tokens.at[5].set(0)) - eqx.filter_jit(model)(tokens)
    moved = np.abs(changed).max(axis=1) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize(
    ("name", "shape", "remedy"),
    [
        ("vgg11_bn", (28, 28, 1), "32x32"),
        ("inception_v3", (16, 40, 3), "17x17"),
        ("vit", (30, 32, 3), "multiples of 4"),
    ],
)
def test_images_that_do_not_suit_a_network_are_refused_with_a_remedy(name, shape, remedy):
    with pytest.raises(InvalidInput, match=remedy):
        models.size(name, shape, 10)


@pytest.mark.parametrize(
    ("family", "arguments", "remedy"),
    [
        ("vgg", {"depth": 12}, "11, 13"),
        ("shufflenet_v2", {"width": 3.0}, "0.5"),
        ("resnet18", {"stem": "large"}, "imagenet"),
        ("cifar_resnet", {"blocks": 0}, "blocks >= 1"),
        ("ViT", {"width": 30}, "heads"),
    ],
)
def test_arguments_of_a_family_are_checked(family, arguments, remedy):
    import importlib

    files = {"shufflenet_v2": "shufflenet", "ViT": "transformer"}
    module = importlib.import_module(f"subspace.models.{files.get(family, family)}")
    with pytest.raises(InvalidInput, match=remedy):
        getattr(module, family)(CIFAR, 10, key=KEY, **arguments)
