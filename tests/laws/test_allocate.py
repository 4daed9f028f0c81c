"""How many dimensions each compartment gets."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from subspace import RandomSubspace
from subspace.errors import InvalidInput
from subspace.models import ResNet
from subspace.spaces.allocate import allocate, proportional
from subspace.spaces.partition import divide

SIZES = {"w": 100, "b": 10}


@pytest.fixture(scope="module")
def resnet8():
    key = jax.random.key(0)
    return eqx.filter_eval_shape(lambda: ResNet((32, 32, 3), 10, key=key))


@pytest.mark.parametrize(
    ("factor", "dim", "total"),
    [(10.0, 7833, 7982), (25.0, 3133, 3328), (50.0, 1567, 1782), (100.0, 783, 1018)],
)
def test_proportional_dims_of_resnet8_are_those_of_table_3(resnet8, factor, dim, total):
    params = eqx.filter(resnet8, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    params = jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None, params
    )
    sizes = divide(params, "leaf").sizes
    assert sum(sizes.values()) == 78_330
    assert sum(proportional(sizes, factor).values()) == total
    space = RandomSubspace(params, dim=dim, compartments="leaf", allocate="proportional")
    assert space.dimensions == total


@pytest.mark.parametrize(
    ("rule", "dim", "expected"),
    [
        ("same", 10, {"w": 10, "b": 10}),
        ("split", 7, {"w": 4, "b": 3}),
        ("split", 2, {"w": 1, "b": 1}),
        ("proportional", 11, {"w": 10, "b": 10}),
        ("proportional", 33, {"w": 30, "b": 10}),  # ⌈100 / (110/33)⌉, and at least 10
        ("proportional", 110, {"w": 100, "b": 10}),
    ],
)
def test_rules(rule, dim, expected):
    assert allocate(SIZES, dim, rule) == expected


def test_proportional_is_even_at_least_ten_and_never_more_than_there_is():
    dims = proportional({"big": 1001, "small": 40, "tiny": 7, "odd": 11}, 10.0)
    assert dims == {"big": 102, "small": 10, "tiny": 7, "odd": 10}


@pytest.mark.parametrize(
    ("dim", "rule", "field", "says"),
    [
        (0, "same", "dim", "positive whole number, got 0"),
        (-3, "same", "dim", "positive whole number"),
        (True, "same", "dim", "positive whole number"),
        (11, "same", "dim", r"`dim=11` exceeds compartment 'b' \(10 parameters\); lower `dim`"),
        (1, "split", "dim", "less than one for each of 2 compartments"),
        (30, "split", "dim", r"`dim=15` exceeds compartment 'b'"),
        (
            4,
            "equal",
            "allocate",
            "unknown allocate 'equal'; choose from: same, split, proportional",
        ),
    ],
)
def test_dims_that_do_not_fit_name_the_field_and_the_remedy(dim, rule, field, says):
    with pytest.raises(InvalidInput, match=says) as error:
        allocate(SIZES, dim, rule)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"basis": "hadamrd"}, "basis"),
        ({"redraw_every": 0}, "redraw_every"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"scale": "huge"}, "scale"),
        ({"dim": 200}, "dim"),
        ({"allocate": "fair"}, "allocate"),
        ({"compartments": "even:999"}, "compartments"),
    ],
)
def test_a_random_subspace_names_the_argument_at_fault(options, field):
    params = {"w": jnp.ones((10, 10)), "b": jnp.ones(10)}
    with pytest.raises(InvalidInput) as error:
        RandomSubspace(params, **{"dim": 4, **options})
    assert error.value.field == field


def test_a_misspelt_basis_is_told_what_it_may_have_meant():
    with pytest.raises(InvalidInput, match="did you mean 'hadamard'"):
        RandomSubspace({"w": jnp.ones(10)}, dim=2, basis="hadamrd")
