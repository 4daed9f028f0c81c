"""The methods in random subspaces, each a composition: subspace × probe × exchange × optimizer."""

from __future__ import annotations

import optax
from jaxtyping import PyTree

from subspace.basis.base import AbstractBasis
from subspace.optim.estimators import Evolution
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import chain, in_subspace
from subspace.optim.rbd_law import scale_by_rbd_law
from subspace.spaces.partition import Label, Partition
from subspace.spaces.random import RandomSubspace
from subspace.spaces.recent import RecentSubspace


def rbd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    dim: int = 250,
    basis: str | AbstractBasis = "hadamard",
    compartments: str | Label | Partition = "whole",
    allocate: str = "same",
    seed: int = 0,
    redraw_every: int = 1,
    momentum: float = 0.0,
    scale: str = "unit",
    error_feedback: bool = False,
    recent: int = 0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """Random bases descent: SGD in a random subspace that is redrawn at every step.

    ``θ ← θ - η Σᵢ (φᵢ·g) φᵢ`` with unit directions φᵢ (Gressmann et al. 2020, algorithm 1).
    Momentum acts on the lifted steps, as directions don't outlive a step.

    Args:
        params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
        learning_rate: η, a number or an Optax schedule. RBD moves by about d/D of a gradient step,
            so a good η is larger than SGD's.
        dim, basis, compartments, allocate, seed, scale: see `RandomSubspace`.
        redraw_every: steps between redraws.
        momentum: decay of the trace of past steps; 0 for none.
        error_feedback: see `subspace.in_subspace`; a good η is then SGD's or somewhat smaller.
        recent: so many directions of past steps beside the random ones, see `RecentSubspace`.
        exchange: how workers combine coordinates.

    Raises:
        InvalidInput: an argument that can't be used; says which and what to do.
    """
    space = RandomSubspace(
        params,
        dim=dim,
        basis=basis,
        compartments=compartments,
        allocate=allocate,
        redraw_every=redraw_every,
        scale=scale,
        seed=seed,
    )
    if recent:
        space = RecentSubspace(space, params, recent)
    follow = in_subspace(space, None, exchange=exchange, error_feedback=error_feedback)
    return chain(follow, optax.sgd(learning_rate, momentum or None))


def fpd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    dim: int = 250,
    basis: str | AbstractBasis = "hadamard",
    compartments: str | Label | Partition = "whole",
    allocate: str = "same",
    seed: int = 0,
    momentum: float = 0.0,
    scale: str = "unit",
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """Fixed projection descent: SGD in one random subspace, ``θ = θ₀ + P c`` (Li et al. 2018).

    Arguments and errors as for `rbd`; momentum acts on the coordinates.
    """
    space = RandomSubspace(
        params,
        dim=dim,
        basis=basis,
        compartments=compartments,
        allocate=allocate,
        redraw_every=None,
        scale=scale,
        seed=seed,
    )
    return in_subspace(space, optax.sgd(learning_rate, momentum or None), exchange=exchange)


def nes(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    dim: int = 250,
    basis: str | AbstractBasis = "hadamard",
    compartments: str | Label | Partition = "whole",
    allocate: str = "same",
    seed: int = 0,
    redraw_every: int = 1,
    momentum: float = 0.0,
    scale: str = "unit",
    sigma: float = 0.01,
    antithetic: bool = False,
    shaping: str = "ranks",
    separate_batches: bool = False,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """Natural evolution strategies: as `rbd`, but slopes are measured by evaluating the loss.

    Its ``update`` needs ``params`` and ``value_fn``, the loss as a function of the parameters.
    Lifting a single direction costs as much as lifting all of them with the row bases, so keep to
    ``hadamard``, ``coordinate`` or ``sparse`` unless d is small.

    Args:
        sigma, antithetic, shaping, separate_batches: see `subspace.optim.estimators.Evolution`.

    Others, and errors, as for `rbd`.
    """
    space = RandomSubspace(
        params,
        dim=dim,
        basis=basis,
        compartments=compartments,
        allocate=allocate,
        redraw_every=redraw_every,
        scale=scale,
        seed=seed,
    )
    estimator = Evolution(
        sigma=sigma, antithetic=antithetic, shaping=shaping, separate_batches=separate_batches
    )
    step = in_subspace(space, optax.sgd(learning_rate), estimator=estimator, exchange=exchange)
    return chain(step, optax.trace(momentum)) if momentum else step


def rbd_in_law(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    dim: int = 250,
    compartments: str | Label | Partition = "whole",
    allocate: str = "same",
    seed: int = 0,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """`rbd` with ideal normal rows, in law: a step's cost hardly depends on ``dim``.

    An instrument for study: there are no coordinates, so workers exchange the gradient's D numbers
    and not d, and a run can't be replayed from what they exchanged.

    Arguments and errors as for `subspace.methods.random.rbd`; momentum too acts as there.
    """
    average = optax.stateless(lambda grads, params: exchange.workers.mean(grads))
    law = scale_by_rbd_law(params, dim=dim, compartments=compartments, allocate=allocate, seed=seed)
    return chain(average, law, optax.sgd(learning_rate, momentum or None))


def sgd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """Plain SGD with the same interface: the yardstick. ``params`` is not used."""
    del params
    average = optax.stateless(lambda grads, params: exchange.workers.mean(grads))
    return chain(average, optax.sgd(learning_rate, momentum or None))
