"""Methods in the subspace of a trajectory (DLDR), and the one that records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from subspace.methods.base import (
    Context,
    InDirections,
    OnTrajectory,
    register,
    takes_fields_of,
)
from subspace.methods.optimized import Optimized
from subspace.methods.random import SGD
from subspace.methods.schedule import Decayed, Schedule, momentum
from subspace.optim.arguments import check_exchange, check_rate, check_space
from subspace.optim.bfgs import PAIRS, scale_by_bfgs
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import SubspaceState, chain, in_subspace
from subspace.optim.linesearch import ON_FAILURE, backtracking
from subspace.optim.newton import scale_by_newton
from subspace.optim.prior import Prior, scale_by_prior
from subspace.options import option
from subspace.spaces.base import AbstractSubspace
from subspace.spaces.trajectory import TrajectorySubspace


@register("dldr")
@dataclass(frozen=True, kw_only=True)
class DLDR(SGD):
    """SGD that records its trajectory, for psgd, pbfgs or newton to build on."""

    defaults: ClassVar = {
        "epochs": 30,
        "batch_size": 128,
        "milestones": (100, 150),
        "weight_decay": 1e-4,
        "sample_every": "epoch",
    }

    momentum: int | float = momentum(0.9)


METRICS = ("variance", "identity")


def _metric() -> Any:
    """The field of a method that can measure its steps by the trajectory."""
    help = "Unit of steps along each direction: by the trajectory's variance there, or all alike."
    return option("variance", help, choices=METRICS)


def _prior(metric: str, space: AbstractSubspace) -> Prior | None:
    """What is known of a subspace, where it is to be used."""
    if metric == "variance" and isinstance(space, TrajectorySubspace):
        return Prior(space.variances, space.length)
    return None


def _measured(
    space: AbstractSubspace,
    context: Context,
    inner: optax.GradientTransformationExtraArgs,
    prior: Prior | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer in a subspace, measured by a trajectory where there is a prior."""
    if prior is not None:
        inner = chain(scale_by_prior(prior), inner)
    return in_subspace(space, inner, exchange=context.exchange)


@register("psgd")
@dataclass(frozen=True, kw_only=True)
class PSGD(InDirections, Optimized):
    """SGD in the principal directions of a trajectory."""

    schedule: ClassVar[type[Schedule]] = Decayed
    defaults: ClassVar = {"epochs": 40, "batch_size": 128, "milestones": (30, 50)}
    presets: ClassVar = {"paper": {"metric": "identity"}}

    metric: str = _metric()
    momentum: int | float = momentum(0.9)

    @property
    def rate_name(self) -> str:
        return ("psgd" if self.metric == "variance" else "psgd+identity") + self._suffix

    def build(
        self, target: AbstractSubspace, context: Context
    ) -> optax.GradientTransformationExtraArgs:
        return _measured(target, context, self.inner(context), _prior(self.metric, target))


_SECOND_ORDER = {"epochs": 20, "batch_size": 1024}


@register("pbfgs")
@dataclass(frozen=True, kw_only=True)
class PBFGS(InDirections):
    """BFGS in the principal directions of a trajectory."""

    schedule: ClassVar[type[Schedule]] = Schedule
    defaults: ClassVar = _SECOND_ORDER

    presets: ClassVar = {
        "paper": {"initial": "identity", "pairs": "paper", "damping": 0.0, "on_failure": "paper"}
    }

    initial: str = option(
        "variance",
        "First inverse Hessian: by the trajectory's variance along each direction, or identity.",
        choices=METRICS,
    )
    pairs: str = option(
        "paper",
        "Gradients of a curvature pair: of consecutive steps, or on a shared batch.",
        choices=PAIRS,
    )
    damping: int | float = option(0.2, "Powell's, of pairs; 0 for none.", least=0, below=1)
    on_failure: str = option(
        "stay", "After a failed line search: stay, or paper.", choices=ON_FAILURE
    )
    alpha: int | float = option(0.0, "Learning rate outside the subspace: P+BFGS.", least=0)
    momentum: int | float = momentum(0.9)  # outside the subspace, with alpha

    def passes(self, directions: int) -> float:
        return 6.0 if self.pairs == "shared" else 3.0

    def build(
        self, target: AbstractSubspace, context: Context
    ) -> optax.GradientTransformationExtraArgs:
        direction = scale_by_bfgs(
            pairs=self.pairs,
            damping=self.damping,
            prior=_prior(self.initial, target),
            bounded=self.initial == "variance",
        )
        step = chain(direction, optax.scale(-1.0), backtracking(on_failure=self.on_failure))
        inside = in_subspace(target, step, exchange=context.exchange)
        if not self.alpha:
            return inside
        return _beside(inside, optax.sgd(self.alpha, self.momentum or None), context.exchange)


@register("newton")
@dataclass(frozen=True, kw_only=True)
class Newton(InDirections):
    """Damped Newton steps in the principal directions of a trajectory."""

    schedule: ClassVar[type[Schedule]] = Schedule
    defaults: ClassVar = _SECOND_ORDER

    damping: int | float = option(
        1e-3, "Added to the Hessian, relative to its largest eigenvalue.", above=0
    )
    metric: str = _metric()

    def passes(self, directions: int) -> float:
        return 3.0 + 6.0 * directions  # a product with the Hessian is as two gradients

    def build(
        self, target: AbstractSubspace, context: Context
    ) -> optax.GradientTransformationExtraArgs:
        direction = scale_by_newton(damping=self.damping, prior=_prior(self.metric, target))
        step = chain(direction, optax.scale(-1.0), backtracking())
        return in_subspace(target, step, exchange=context.exchange)


@register("twa")
@dataclass(frozen=True, kw_only=True)
class TWA(OnTrajectory, Optimized):
    """SGD on the coefficients of a weighted average of a trajectory's samples."""

    schedule: ClassVar[type[Schedule]] = Decayed
    defaults: ClassVar = {
        "epochs": 10,
        "batch_size": 128,
        "schedule": "linear",
        "weight_decay": 1e-5,
        "tail": 0.5,
        "start": "average",
    }

    momentum: int | float = momentum(0.9)

    def space(self, samples: Any, params: PyTree, divided: bool = False) -> TrajectorySubspace:
        return TrajectorySubspace.fit(samples, None, params, divided, centred=False)

    def build(
        self, target: AbstractSubspace, context: Context
    ) -> optax.GradientTransformationExtraArgs:
        return _measured(target, context, self.inner(context))


class PPlusBFGSState(NamedTuple):
    """State of `p_plus_bfgs`."""

    inside: SubspaceState
    outside: optax.OptState


def _beside(
    inside: optax.GradientTransformationExtraArgs,
    outside: optax.GradientTransformation,
    exchange: AbstractExchange,
) -> optax.GradientTransformationExtraArgs:
    """A step in a subspace, and another one along what the subspace leaves of the gradient."""

    def init(params: PyTree) -> PPlusBFGSState:
        return PPlusBFGSState(inside.init(params), outside.init(params))  # pyright: ignore

    def update(
        updates: PyTree, state: PPlusBFGSState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PPlusBFGSState]:
        step, inner = inside.update(updates, state.inside, params, **extra)  # pyright: ignore
        chart = state.inside.space
        left = jax.tree.map(jnp.subtract, updates, chart.lift(chart.project(updates)))
        rest, outer = outside.update(exchange.workers.mean(left), state.outside)
        return jax.tree.map(jnp.add, step, rest), PPlusBFGSState(inner, outer)  # pyright: ignore

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _made(
    method: OnTrajectory, space: Any, context: Context
) -> optax.GradientTransformationExtraArgs:
    check_space(space)
    check_exchange(context.exchange)
    return method.build(space, context)


@takes_fields_of(PSGD)
def p_sgd(
    space: AbstractSubspace,
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """P-SGD: SGD with momentum in the principal directions of a trajectory (Li et al. 2022).

    Args:
        space: from `TrajectorySubspace.fit`; start at the trajectory's first sample.
        learning_rate: the paper's 1, ×0.1 at epochs 30 and 50.
        exchange: how workers combine coordinates.
        options: below.
    """
    check_rate(learning_rate)
    return _made(PSGD(**options), space, Context(learning_rate, exchange=exchange))


@takes_fields_of(TWA)
def twa(
    space: AbstractSubspace,
    learning_rate: optax.ScalarOrSchedule,
    *,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Trainable weight averaging: SGD on the coefficients of an average (Li et al., ICLR 2023).

    Args:
        space: of ``TrajectorySubspace.fit(samples, None, params, centred=False)``; start at the
            samples' average.
        learning_rate: falling linearly to 0 in the paper.
        exchange: how workers combine coordinates.
        options: below.
    """
    check_rate(learning_rate)
    return _made(TWA(**options), space, Context(learning_rate, exchange=exchange))


@takes_fields_of(PBFGS, but=("alpha", "momentum"))
def p_bfgs(
    space: AbstractSubspace, *, exchange: AbstractExchange = Alone(), **options: Any
) -> optax.GradientTransformationExtraArgs:
    """P-BFGS: BFGS with a backtracking line search in a fixed subspace (Li et al. 2022).

    Its ``update`` needs ``params``, ``value`` and ``value_fn``. The paper as published:
    ``initial="identity", damping=0.0, on_failure="paper"``; on the command line ``--preset paper``.

    Args:
        space: fixed; usually from `TrajectorySubspace.fit`.
        exchange: how workers combine coordinates and losses.
        options: below; see `subspace.optim.bfgs.scale_by_bfgs` and
            `subspace.optim.linesearch.backtracking`.
    """
    return _made(PBFGS(**options), space, Context(exchange=exchange))


@takes_fields_of(PBFGS)
def p_plus_bfgs(
    space: AbstractSubspace, *, exchange: AbstractExchange = Alone(), **options: Any
) -> optax.GradientTransformationExtraArgs:
    """P+BFGS: P-BFGS inside the subspace, and SGD on what the subspace leaves of the gradient.

    ``θ ← θ + p - α trace(g - P Pᵀ g)`` with p the step of `p_bfgs` (Li et al. 2022); at α = 0 it is
    `p_bfgs`. Workers exchange D numbers for the second term.

    Arguments as for `p_bfgs`.
    """
    return _made(PBFGS(**options), space, Context(exchange=exchange))


@takes_fields_of(Newton)
def p_newton(
    space: AbstractSubspace, *, exchange: AbstractExchange = Alone(), **options: Any
) -> optax.GradientTransformationExtraArgs:
    """Damped Newton steps with a backtracking line search in a fixed subspace of d ≤ 64 or so.

    As `p_bfgs`, with the exact Hessian of the mini-batch's loss in the d coordinates instead of an
    estimate. Its ``update`` needs ``params``, ``value`` and ``value_fn``.
    """
    return _made(Newton(**options), space, Context(exchange=exchange))
