"""The methods, each a composition: subspace × probe × exchange × inner optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import optax
from jaxtyping import PyTree

from subspace.bfgs import scale_by_bfgs
from subspace.core import AbstractBasis, AbstractSubspace
from subspace.exchange import AbstractExchange, Alone
from subspace.linesearch import backtracking
from subspace.newton import scale_by_newton
from subspace.partition import Label, Partition
from subspace.probe import AbstractProbe, Backprop, Evolution
from subspace.random import RandomSubspace
from subspace.trajectory import TrajectorySubspace
from subspace.transform import in_subspace


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
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
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
    return _redrawn(space, learning_rate, momentum, exchange)


def _redrawn(
    space: RandomSubspace,
    learning_rate: optax.ScalarOrSchedule,
    momentum: float,
    exchange: AbstractExchange,
    probe: AbstractProbe = Backprop(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """SGD in a subspace whose directions don't last: momentum acts on the lifted steps."""
    step = in_subspace(space, optax.sgd(learning_rate), probe=probe, exchange=exchange)
    return chain(step, optax.trace(momentum)) if momentum else step


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
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
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
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """Natural evolution strategies: as `rbd`, but slopes are measured by evaluating the loss.

    Its ``update`` needs ``params`` and ``value_fn``, the loss as a function of the parameters.
    Lifting a single direction costs as much as lifting all of them with the row bases, so keep to
    ``hadamard``, ``coordinate`` or ``sparse`` unless d is small.

    Args:
        sigma, antithetic, shaping: see `subspace.probe.Evolution`.

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
    probe = Evolution(sigma=sigma, antithetic=antithetic, shaping=shaping)
    return _redrawn(space, learning_rate, momentum, exchange, probe)


def p_sgd(
    space: TrajectorySubspace,
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    momentum: float = 0.9,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """P-SGD: SGD with momentum in the principal directions of a trajectory (Li et al. 2022).

    Args:
        space: from `TrajectorySubspace.fit`; start at the trajectory's first snapshot.
        learning_rate: the paper's 1, ×0.1 at epochs 30 and 50.
        momentum: of the coordinates.
        exchange: how workers combine coordinates.
    """
    return in_subspace(space, optax.sgd(learning_rate, momentum or None), exchange=exchange)


def p_bfgs(
    space: AbstractSubspace,
    *,
    pairs: str = "shared",
    damping: float = 0.2,
    on_failure: str = "stay",
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """P-BFGS: BFGS with a backtracking line search in a fixed subspace (Li et al. 2022).

    Its ``update`` needs ``params``, ``value`` and ``value_fn``. The paper as published:
    ``pairs="paper", damping=0, on_failure="paper"``.

    Args:
        space: fixed; usually from `TrajectorySubspace.fit`.
        pairs, damping: see `subspace.bfgs.scale_by_bfgs`.
        on_failure: see `subspace.linesearch.backtracking`.
        exchange: how workers combine coordinates and losses.
    """
    direction = scale_by_bfgs(pairs=pairs, damping=damping)
    search = backtracking(on_failure=on_failure)
    return in_subspace(space, chain(direction, optax.scale(-1.0), search), exchange=exchange)


def p_newton(
    space: AbstractSubspace,
    *,
    damping: float = 1e-3,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """Damped Newton steps with a backtracking line search in a fixed subspace of d ≤ 64 or so.

    As `p_bfgs`, with the exact Hessian of the mini-batch's loss in the d coordinates instead of an
    estimate. Its ``update`` needs ``params``, ``value`` and ``value_fn``.

    Args:
        space: fixed; usually from `TrajectorySubspace.fit`.
        damping: see `subspace.newton.scale_by_newton`.
        exchange: how workers combine coordinates and losses.
    """
    direction = scale_by_newton(damping=damping)
    search = backtracking()
    return in_subspace(space, chain(direction, optax.scale(-1.0), search), exchange=exchange)


def sgd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
) -> optax.GradientTransformationExtraArgs:
    """Plain SGD with the same interface: the yardstick. ``params`` is not used."""
    del params
    average = optax.stateless(lambda grads, params: exchange(grads))
    return chain(average, optax.sgd(learning_rate, momentum or None))


def chain(*steps: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optax.chain`, typed as what it returns: a transformation that passes extra arguments on."""
    return optax.with_extra_args_support(optax.chain(*steps))


class Method(NamedTuple):
    """A method as the command line knows it."""

    name: str
    build: Callable[..., optax.GradientTransformationExtraArgs]
    options: frozenset[str]
    """The fields of a run's configuration that describe its subspace."""
    description: str


_FIXED = frozenset({"dim", "basis", "compartments", "allocate", "scale"})
_NES = _FIXED | {"redraw_every", "sigma", "antithetic", "shaping"}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("sgd", sgd, frozenset(), "plain SGD on all D parameters: the yardstick"),
        Method("rbd", rbd, _FIXED | {"redraw_every"}, "SGD in a random subspace, new every step"),
        Method("fpd", fpd, _FIXED, "SGD in one random subspace, fixed for the whole run"),
        Method("nes", nes, _NES, "evolution strategies in a random subspace, new every step"),
    )
}
