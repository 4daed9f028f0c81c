"""The loss around a point, and how random directions lie to each other and to the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PyTree

from subspace.data.dataset import Split
from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace
from subspace.spaces.random import RandomSubspace
from subspace.store.weights import Weights
from subspace.train.diagnose import compare
from subspace.train.step import TrainState, make_gradient, no_meters
from subspace.train.trainer import Trainer


def directions(params: PyTree, basis: str, count: int, seed: int = 0) -> list[PyTree]:
    """Unit vectors in parameter space, each the only one of a draw of its own.

    Raises:
        InvalidInput: an unknown basis, or a count below 1.
    """
    if count < 1:
        raise InvalidInput("directions", f"must be at least 1, got {count}")
    space: AbstractSubspace = RandomSubspace(params, dim=1, basis=basis, seed=seed)

    @jax.jit
    def next_one(space: AbstractSubspace) -> tuple[PyTree, AbstractSubspace]:
        coords = space.origin()
        lifted = space.lift(jax.tree.map(jnp.ones_like, coords))
        norm = jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(lifted)))
        return jax.tree.map(lambda leaf: leaf / norm, lifted), space.redraw(coords)[0]

    found = []
    for _ in range(count):
        direction, space = next_one(space)
        found.append(direction)
    return found


def orthogonality(
    basis: str, size: int, pairs: int = 100, seed: int = 0
) -> Float[np.ndarray, " pairs"]:
    """|cosine| of pairs of independent directions of ``size`` entries (RBD, figure B.8).

    `isotropic_cosine` is what it would be of isotropic ones.

    Raises:
        InvalidInput: an unknown basis, or a size or number of pairs below 1.
    """
    if size < 1:
        raise InvalidInput("size", f"must be at least 1, got {size}")
    rows = np.stack(directions(jnp.zeros(size), basis, 2 * pairs, seed)).astype(np.float64)
    return np.abs(np.sum(rows[::2] * rows[1::2], axis=1))


def isotropic_cosine(size: int) -> float:
    """√(2/(πn)): the mean |cosine| of two uniform directions of n entries, for large n."""
    return math.sqrt(2 / (math.pi * size))


def losses_along(
    trainer: Trainer,
    weights: Weights,
    split: Split,
    basis: str,
    distances: Sequence[float] | np.ndarray,
    count: int = 25,
    seed: int = 0,
) -> Float[np.ndarray, "count distances"]:
    """The mean loss at steps along random directions (RBD, figure 2).

    Args:
        trainer: of a run.
        weights: where from.
        split: the examples; batch norm uses its running statistics.
        basis: kind of the directions, of unit length.
        distances: along each.
        count: how many directions.

    Raises:
        InvalidInput: as `directions` does.
    """
    rows = []
    for direction in directions(weights.params, basis, count, seed):
        here = []
        for distance in distances:
            moved = optax.tree.add_scale(weights.params, np.float32(distance), direction)
            placed = trainer.placed(weights._replace(params=moved))
            here.append(trainer.evaluate(placed, split)["loss"])
        rows.append(here)
    return np.asarray(rows)


def correlations(
    trainer: Trainer,
    weights: Weights,
    basis: str,
    dims: Sequence[int],
    draws: int = 5,
    seed: int = 0,
) -> list[dict[str, int | float]]:
    """The cosine of the gradient with its image in random subspaces, for each d.

    The gradient is that of the first mini-batch of the run's last phase, at the weights.

    Returns:
        For each of ``dims``: ``dim``, the means over the draws of ``cosine``, ``cosine_leaves`` and
        ``energy``, see `subspace.train.diagnose.compare`, and ``analytic``, √(d/(d+D)).

    Raises:
        InvalidInput: an unknown basis, or more dimensions than parameters.
    """
    gradient = gradient_at(trainer, weights)
    nothing = jax.tree.map(jnp.zeros_like, gradient)
    rows: list[dict[str, int | float]] = []
    for dim in dims:
        space = RandomSubspace(gradient, dim=dim, basis=basis, seed=seed)
        step = jax.jit(lambda s, g: s.lift(s.project(g)))
        found = []
        for _ in range(draws):
            found.append(compare(gradient, step(space, gradient), nothing))
            space = space.redraw(space.origin())[0]
        names = ("cosine", "cosine_leaves", "energy")
        means = {name: float(np.mean([one[name] for one in found])) for name in names}
        analytic = math.sqrt(dim / (dim + trainer.parameters))
        rows.append({"dim": dim, **means, "analytic": analytic})
    return rows


def gradient_at(trainer: Trainer, weights: Weights) -> PyTree:
    """The gradient of the first mini-batch of a run's last phase."""
    place = trainer.phases[-1]
    plan = trainer.plan(place, optax.with_extra_args_support(optax.identity()))
    split, order = trainer.dataset.train, trainer.order(place, place.first_epoch)
    state = TrainState(*weights, (), jnp.int32(place.first_step), no_meters(trainer.task))
    examples = np.asarray(split.inputs), np.asarray(split.targets), order
    return make_gradient(plan)(trainer.placed(state), *trainer.placed(examples))
