"""No basis holds D×d numbers, neither in a step nor in the gradient of a line search."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from cases import NAMES, basis, key

from subspace import RandomSubspace

N, D = 5000, 512
CHUNK = 40 * N  # at most 32 rows at a time, and a little


def largest(function, *args):
    """Elements of all that the largest single operation of a traced function returns."""
    return max(_sizes(jax.make_jaxpr(function)(*args).jaxpr))


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield sum(getattr(out.aval, "size", 0) for out in equation.outvars)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = value if hasattr(value, "eqns") else getattr(value, "jaxpr", None)
            if hasattr(inner, "eqns"):
                yield from _sizes(inner)


def test_the_measure_sees_inside_loops():
    def stacks(x):
        return jax.lax.scan(lambda c, _: (c, jnp.sin(x)), x[0], length=7)[1].sum()

    assert largest(stacks, jnp.ones(11)) == 77


@pytest.mark.parametrize("name", NAMES)
def test_projecting_and_lifting_hold_a_bounded_chunk(name):
    project = largest(lambda v: basis(name).project(key(0), v, D), jnp.ones(N))
    lift = largest(lambda z: basis(name).lift(key(0), z, N), jnp.ones(D))
    assert max(project, lift) <= CHUNK < N * D


@pytest.mark.parametrize("name", NAMES)
def test_differentiating_a_loss_along_the_chart_holds_a_bounded_chunk(name):
    """What a line search does with `value_fn`."""
    space = RandomSubspace(jnp.ones(N), dim=D, basis=name)

    def loss(z):
        return jnp.sum(jnp.sin(space.lift(z)))

    assert largest(jax.grad(loss), space.origin()) <= CHUNK
    assert largest(lambda z: jax.jvp(loss, (z,), (z,)), space.origin()) <= CHUNK
