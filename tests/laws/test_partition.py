"""split and join are inverse, for any division of any tree of floating-point arrays."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import models
from subspace.errors import InvalidInput
from subspace.spaces.partition import divide


class Pair(NamedTuple):
    scale: jax.Array
    shift: jax.Array


def filled(*shape, dtype=jnp.float32, start=1.0):
    """Distinct values that bfloat16 holds exactly."""
    size = int(np.prod(shape, dtype=int))
    return jnp.asarray(start + np.arange(size).reshape(shape), dtype)


def fc(key=0):
    return models.FC((3, 3, 1), 4, key=jax.random.key(key))


TREES = {
    "dict": {"w": filled(2, 3), "b": filled(3, start=50.0)},
    "one array": filled(7),
    "flax": {"params": {"Dense_0": {"kernel": filled(4, 2), "bias": filled(2)}, "out": filled(3)}},
    "nested": [(filled(2), filled(3, 1)), Pair(filled(2, start=9.0), filled(1)), {"x": filled(5)}],
    "scalar": {"w": filled(6), "temperature": jnp.float32(3.0)},
    "empty leaf": {"none": jnp.zeros((0, 4)), "w": filled(3, 3)},
    "mixed": {"w": filled(4, 4, dtype=jnp.bfloat16), "b": filled(4), "c": filled(2)},
    "equinox": eqx.filter(fc(), eqx.is_inexact_array),
}
DIVISIONS = ["whole", "layer", "leaf", "even:1", "even:3", "even:7"]


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x, np.float32), np.asarray(y, np.float32))


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_join_undoes_split(tree, division):
    partition = divide(tree, division)
    flats = partition.split(tree)
    assert {name: flat.size for name, flat in flats.items()} == partition.sizes
    assert sum(partition.sizes.values()) == sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert all(flat.dtype == jnp.float32 for flat in flats.values())
    same(partition.join(flats), tree)
    again = partition.split(partition.join(flats))
    assert all(bool(jnp.all(again[name] == flats[name])) for name in flats)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_shapes_alone_are_divided_alike(tree):
    shapes = jax.eval_shape(lambda: tree)
    assert divide(shapes, "leaf") == divide(tree, "leaf")
    assert hash(divide(shapes, "even:3")) == hash(divide(tree, "even:3"))


def test_compartments_are_named_after_layers_and_leaves():
    model = eqx.filter(fc(), eqx.is_inexact_array)
    assert divide(model, "layer").sizes == {"hidden": 9 * 128 + 128, "output": 128 * 4 + 4}
    assert list(divide(model, "leaf").sizes) == [
        "hidden/weight",
        "hidden/bias",
        "output/weight",
        "output/bias",
    ]
    assert divide(TREES["flax"], "layer").sizes == {"params/Dense_0": 10, "params": 3}
    assert divide(TREES["nested"], "layer").sizes == {"0": 5, "1": 3, "2": 5}


@pytest.mark.parametrize(
    ("division", "sizes"),
    [
        ("leaf", {"['a']['b']['w']": 2, "['a/b']['w']": 3, "a/b/v": 4, "c": 5}),
        ("layer", {"['a']['b']": 2, "['a/b']": 7, "(top)": 5}),
    ],
)
def test_keys_with_a_slash_in_them_share_no_compartment_with_others(division, sizes):
    tree = {"a": {"b": {"w": filled(2)}}, "a/b": {"w": filled(3), "v": filled(4)}, "c": filled(5)}
    partition = divide(tree, division)
    assert partition.sizes == sizes
    same(partition.join(partition.split(tree)), tree)


def test_even_slices_differ_by_one_at_most_and_keep_the_order():
    tree = {"a": filled(10), "b": filled(7, start=11.0)}
    partition = divide(tree, "even:5")
    assert list(partition.sizes.values()) == [4, 4, 3, 3, 3]
    flat = np.concatenate([np.asarray(part) for part in partition.split(tree).values()])
    np.testing.assert_array_equal(flat, np.arange(1, 18))


def test_a_function_groups_leaves_and_freezes_those_it_gives_none():
    tree = {"a": filled(2, 2), "b": filled(3), "c": filled(4), "head": filled(5)}
    names = {"a": "outer", "b": "inner", "c": "outer", "head": None}
    partition = divide(tree, lambda path, leaf: names[path])
    assert partition.sizes == {"outer": 8, "inner": 3}
    joined = partition.join(partition.split(tree))
    same(joined, tree | {"head": jnp.zeros(5)})


def test_a_function_sees_the_shape_of_the_leaf():
    partition = divide(TREES["dict"], lambda path, leaf: "matrices" if leaf.ndim == 2 else None)
    assert partition.sizes == {"matrices": 6}


def test_a_partition_is_its_own_division():
    partition = divide(TREES["dict"], "leaf")
    assert divide(TREES["dict"], partition) is partition


def test_another_tree_is_refused_and_both_are_shown():
    partition = divide(TREES["dict"])
    with pytest.raises(ValueError, match=r"another tree.*expected .*'b'.*'w'.*got .*'other'"):
        partition.split({"other": filled(3)})


@pytest.mark.parametrize(
    ("division", "remedy"),
    [
        ("layers", "did you mean 'layer'. choose from: whole, layer, leaf, even:K"),
        ("even:0", "K ≥ 1"),
        ("even:x", "K ≥ 1"),
        ("even:-1", "K ≥ 1"),
        ("even:10", "at most 9 slices"),
        (lambda path, leaf: None, "check the tree and the labels"),
    ],
)
def test_impossible_divisions_name_the_field_and_the_remedy(division, remedy):
    with pytest.raises(InvalidInput, match=remedy) as error:
        divide(TREES["dict"], division)
    assert error.value.field == "compartments"


@pytest.mark.parametrize("tree", [{}, {"none": jnp.zeros((0, 3))}, None])
def test_a_tree_without_parameters_is_refused(tree):
    with pytest.raises(InvalidInput, match="no parameters to train"):
        divide(tree)


@pytest.mark.parametrize("leaf", [np.arange(3), 1.5, jax.nn.relu, jnp.ones(2, bool)])
def test_a_leaf_that_is_no_parameter_is_refused_by_its_path(leaf):
    with pytest.raises(TypeError, match=r"params\['layer/odd'\].*filter"):
        divide({"layer": {"odd": leaf}})
