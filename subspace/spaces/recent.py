"""Random directions, and beside them those in which training has moved lately."""

from __future__ import annotations

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree

from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.random import RandomSubspace
from subspace.spaces.shards import zeros_for

_NAME = "(recent)"
MOST_RECENT = 6  # decays are 1 - 10⁻ᵏ, and 1 - 10⁻⁷ is 1 to float32
_PARALLEL = 3e-2  # the least part of a mean that is to be new; its square keeps three digits


@final
class RecentSubspace(AbstractSubspace):
    """``P = [Q, (I - Q Qᵀ) R]``: m directions of past steps, Q, beside random ones, R.

    Q spans running means of the steps so far, with decays 0.9, 0.99, … Every worker has seen those
    steps, so that nothing is exchanged for Q but m more numbers a step, as in sequential subspace
    optimization (Narkiss and Zibulevsky 2005), which searches along past steps too. What the
    gradients of many steps have in common is followed at once, where random directions alone need
    D/d steps; so error feedback stays stable at larger learning rates. Costs m·D numbers of memory.

    Q is orthonormal to three digits, as it comes from inner products of means in float32, of which
    two are nearly parallel in the first steps.

    Attributes:
        space: R, redrawn every step.
        means: running means of lifted steps, (m, *shape) for each leaf.
    """

    space: RandomSubspace
    means: list[Array]

    def __init__(self, space: RandomSubspace, params: PyTree, count: int):
        """Puts ``count`` directions beside those of ``space``.

        Raises:
            InvalidInput: there are to be none or more than 6, or ``space`` isn't redrawn each step.
        """
        if not 1 <= count <= MOST_RECENT:
            raise InvalidInput("recent", f"must be at most {MOST_RECENT} directions, got {count}")
        if space.redraw_every != 1:
            raise InvalidInput("recent", "goes with redraw_every=1 only")
        self.space = space
        self.means = zeros_for(params, count)

    def origin(self) -> Coords:
        return {_NAME: jnp.zeros(len(self.means[0]), self.means[0].dtype)} | self.space.origin()

    def project(self, tree: PyTree) -> Coords:
        leaves = self.space.partition.leaves_of(tree)
        shards = self.space.shards
        if shards is None:
            return _project(self, leaves)
        return shards(_project, self, leaves, given=(self._specs(), shards.leaves), gives=P())

    def lift(self, coords: Coords) -> PyTree:
        shards = self.space.shards
        if shards is None:
            leaves = _lift(self, coords)
        else:
            leaves = shards(_lift, self, coords, given=(self._specs(), P()), gives=shards.leaves)
        return self.space.partition.tree_of(leaves)

    def filter(self, tree: PyTree) -> tuple[Coords, PyTree]:
        leaves = self.space.partition.leaves_of(tree)
        shards = self.space.shards
        if shards is None:
            coords, leaves = _filter(self, leaves)
        else:
            given, gives = (self._specs(), shards.leaves), (P(), shards.leaves)
            coords, leaves = shards(_filter, self, leaves, given=given, gives=gives)
        return coords, self.space.partition.tree_of(leaves)

    def knows(self, axis: str) -> bool:
        return self.space.knows(axis)

    def stretch(self) -> float:
        return self.space.stretch()

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        """New random directions; the step to ``coords``, from zero, joins the means."""
        step = self.lift(coords) if step is None else step
        decays = [1 - 10.0**-k for k in range(1, len(self.means[0]) + 1)]
        means = [
            jnp.stack(
                [a * mean[i] + (1 - a) * leaf.astype(mean.dtype) for i, a in enumerate(decays)]
            )
            for mean, leaf in zip(self.means, self.space.partition.leaves_of(step), strict=True)
        ]
        space, _ = self.space.redraw(_drawn(coords))
        fresh = eqx.tree_at(lambda s: (s.space, s.means), self, (space, means))
        return fresh, jax.tree.map(jnp.zeros_like, coords)

    def _specs(self) -> Any:
        """How its arrays are divided, where parameters are."""
        shards = self.space.shards
        assert shards is not None
        return eqx.tree_at(lambda s: (s.space, s.means), self, (P(), shards.ahead))


def _drawn(coords: Coords) -> Coords:
    return {name: z for name, z in coords.items() if name != _NAME}


# What follows works on a device's blocks of leaves, or on all of them.


def _project(of: RecentSubspace, leaves: list[Array]) -> Coords:
    w = _orthonormal(of)
    along = w @ _dots(of, leaves)
    return {_NAME: along} | of.space.project(_tree(of, _added(leaves, of.means, -along @ w)))


def _lift(of: RecentSubspace, coords: Coords) -> list[Array]:
    w = _orthonormal(of)
    return _along(of, w, coords[_NAME], of.space.lift(_drawn(coords)))


def _filter(of: RecentSubspace, leaves: list[Array]) -> tuple[Coords, list[Array]]:
    w = _orthonormal(of)
    along = w @ _dots(of, leaves)
    coords, lifted = of.space.filter(_tree(of, _added(leaves, of.means, -along @ w)))
    return {_NAME: along} | coords, _along(of, w, along, lifted)


def _along(of: RecentSubspace, w: Array, along: Array, lifted: PyTree) -> list[Array]:
    """``(I - Qᵀ Q) lifted + Qᵀ along``, in the parameters' types."""
    leaves = of.space.partition.leaves_of(lifted)
    steps = _added(leaves, of.means, (along - w @ _dots(of, leaves)) @ w)
    return [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]


def _added(leaves: list[Array], means: list[Array], factors: Float[Array, " m"]) -> list[Array]:
    """Leaves plus a combination of means."""
    return [
        leaf.astype(mean.dtype)
        + sum(factor * row for factor, row in zip(factors.astype(mean.dtype), mean, strict=True))
        for leaf, mean in zip(leaves, means, strict=True)
    ]


def _dots(of: RecentSubspace, leaves: list[Array]) -> Float[Array, " m"]:
    """The inner product of each mean with a vector."""
    each = [
        mean.reshape(len(mean), -1) @ leaf.ravel().astype(mean.dtype)
        for mean, leaf in zip(of.means, leaves, strict=True)
    ]
    return of.space.total(each)


def _orthonormal(of: RecentSubspace) -> Float[Array, "m m"]:
    """W with ``Q = W M``: rows orthonormal, zero for a mean that adds nothing to those before.

    ``W = L⁻¹`` from Cholesky's ``L Lᵀ = M Mᵀ``, number by number, which compiles to one kernel.
    """
    count = len(of.means[0])
    flat = [mean.reshape(count, -1) for mean in of.means]
    gram = of.space.total([mean @ mean.T for mean in flat])
    low: list[list[Array]] = []
    w: list[list[Array]] = []
    for i in range(count):
        row: list[Array] = []
        for j in range(i):
            row.append((gram[i][j] - _sum(row, low[j])) * w[j][j])
        rest = gram[i][i] - _sum(row, row)
        new = rest > _PARALLEL**2 * gram[i][i]
        scale = jnp.where(new, lax.rsqrt(jnp.where(new, rest, 1)), 0)
        ahead = [-scale * _sum(row[k:], [w[j][k] for j in range(k, i)]) for k in range(i)]
        low.append([*row, rest * scale])
        w.append([*ahead, scale, *[jnp.zeros_like(scale)] * (count - i - 1)])
    return jnp.stack([jnp.stack(row) for row in w])


def _sum(a: list[Array], b: list[Array]) -> Array | float:
    """``Σ aᵢ bᵢ`` as far as both go."""
    return sum((x * y for x, y in zip(a, b, strict=False)), start=0.0)


def _tree(of: RecentSubspace, leaves: list[Array]) -> PyTree:
    return of.space.partition.tree_of(leaves)
