"""The methods in random subspaces: each a space, an estimator, an exchange and an optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import optax
from jaxtyping import Array, PyTree

from subspace.errors import InvalidInput
from subspace.methods.base import Context, Method, register, takes_fields_of
from subspace.methods.in_random import InCompartments, InRandomSubspace, spread_of
from subspace.methods.optimized import Optimized
from subspace.methods.rounds import InRounds
from subspace.methods.schedule import Rated, Schedule, momentum
from subspace.optim.arguments import check_exchange, check_rate, for_the_tree_of_init
from subspace.optim.averaging import AVERAGES, averaged
from subspace.optim.estimators import SHAPING, Evolution
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import chain, in_subspace
from subspace.optim.rbd_law import scale_by_rbd_law
from subspace.options import option
from subspace.spaces.allocate import allocate
from subspace.spaces.partition import divide
from subspace.spaces.random import RandomSubspace
from subspace.spaces.recent import MOST_RECENT, RecentSubspace


def _redraw_every() -> Any:
    return option(1, "Steps between redraws of the directions.", least=1)


@register("rbd")
@dataclass(frozen=True, kw_only=True)
class RBD(InRandomSubspace, Optimized, InRounds):
    """SGD in a random subspace, new every step."""

    presets: ClassVar = {"strong": {"error_feedback": True, "recent": 3}}

    redraw_every: int = _redraw_every()
    error_feedback: bool = option(
        False, "Add to each gradient what the subspaces have missed so far."
    )
    recent: int = option(
        0,
        "So many directions of past steps beside the random ones.",
        least=0,
        most=MOST_RECENT,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.rounds and self.exchange != "mean":
            raise InvalidInput("local_steps", "go with the exchange mean; leave one of them out")
        if self.recent and self.space != "whole":
            raise InvalidInput("recent", f"goes with space whole, not {self.space}")

    @property
    def rate_name(self) -> str:
        if self.rounds:  # a worker's own steps are plain ones
            return SGD.name + self._suffix
        return ("rbd+feedback" if self.error_feedback else self.name) + self._suffix

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        space = self.subspace(target, context.seed, self.redraw_every)
        if self.recent:
            assert isinstance(space, RandomSubspace)
            space = RecentSubspace(space, target, self.recent)
        follow = in_subspace(
            space, None, exchange=context.exchange, error_feedback=self.error_feedback
        )
        if self.rounds:
            return self.in_rounds(self.inner(context), follow)
        # The optimizer acts on the lifted steps, as directions don't outlive a step.
        return chain(follow, self.inner(context))


@register("fpd")
@dataclass(frozen=True, kw_only=True)
class FPD(InRandomSubspace, Optimized):
    """SGD in one random subspace, fixed for the whole run."""

    presets: ClassVar = {
        "adapter": {"space": "factored", "optimizer": "adam", "schedule": "cosine", "dim": 500}
    }

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        space = self.subspace(target, context.seed, None)
        inner = self.inner(context, spread_of(space, target))
        return in_subspace(space, inner, exchange=context.exchange)


@register("nes")
@dataclass(frozen=True, kw_only=True)
class NES(InRandomSubspace):
    """Evolution strategies in a random subspace, new every step."""

    schedule: ClassVar[type[Schedule]] = Rated  # weight decay is added to gradients

    redraw_every: int = _redraw_every()
    sigma: int | float = option(0.01, "Standard deviation of a parameter's perturbation.", above=0)
    antithetic: bool = option(False, "Evaluate every direction both ways.")
    shaping: str = option("ranks", "What losses become.", choices=SHAPING)
    separate_batches: bool = option(
        False,
        "Measure each direction on its own share of the batch.",
        flag="--separate-batches/--same-batch",
    )
    momentum: int | float = momentum()

    def passes(self, directions: int) -> float:
        evaluations = 1 if self.separate_batches else directions
        return 1.0 + evaluations * (2 if self.antithetic else 1)

    def check_batch(self, size: int, directions: int) -> None:
        if self.separate_batches and size < directions:
            raise InvalidInput(
                "batch_size",
                f"{size} examples of each worker can't be shared out among {directions} "
                f"directions; use at least {directions} for each worker",
            )

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        estimator = Evolution(
            sigma=self.sigma,
            antithetic=self.antithetic,
            shaping=self.shaping,
            separate_batches=self.separate_batches,
        )
        step = in_subspace(
            self.subspace(target, context.seed, self.redraw_every),
            optax.sgd(context.learning_rate),
            estimator=estimator,
            exchange=context.exchange,
        )
        return chain(step, optax.trace(self.momentum)) if self.momentum else step


@register("rbd_in_law")
@dataclass(frozen=True, kw_only=True)
class RBDInLaw(InCompartments):
    """RBD's step with normal directions, drawn from its exact law at SGD's speed."""

    momentum: int | float = momentum()

    @property
    def rate_name(self) -> str:
        return RBD.name

    def directions(self, params: PyTree) -> int:
        sizes = divide(params, self.compartments).sizes
        return sum(allocate(sizes, self.dim, self.allocate).values())

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        average = optax.stateless(lambda grads, params: context.exchange.workers.mean(grads))
        law = scale_by_rbd_law(
            target,
            dim=self.dim,
            compartments=self.compartments,
            allocate=self.allocate,
            seed=context.seed,
        )
        return chain(average, law, optax.sgd(context.learning_rate, self.momentum or None))


@register("sgd")
@dataclass(frozen=True, kw_only=True)
class SGD(Optimized, InRounds):
    """Plain SGD on all D parameters: the yardstick."""

    average: str | None = option(
        None,
        "End at an average of the parameters: swa, of the ends of the last half of the epochs, or "
        "ema, of all steps.",
        panel="Training",
        choices=AVERAGES,
        moves_rate=False,
        by_run=True,
    )

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        mean = optax.stateless(lambda grads, params: context.exchange.workers.mean(grads))
        inner = self.inner(context)
        step = self.in_rounds(inner, mean) if self.rounds else chain(mean, inner)
        if self.average is None:
            return step
        begins = (context.epochs - context.epochs // 2) * context.steps + 1
        return averaged(step, self.average, begins=begins, every=context.steps)


def _made(
    method: Method, params: PyTree, learning_rate: Any, seed: Any, exchange: Any
) -> optax.GradientTransformationExtraArgs:
    """A method as an Optax transformation of whatever tree it is given."""
    check_rate(learning_rate)
    check_exchange(exchange)
    context = Context(learning_rate, seed, exchange)
    return for_the_tree_of_init(lambda target: method.build(target, context), params)


@takes_fields_of(RBD)
def rbd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    seed: int | Array = 0,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Random bases descent: SGD in a random subspace that is redrawn at every step.

    ``θ ← θ - η Σᵢ (φᵢ·g) φᵢ`` with unit directions φᵢ (Gressmann et al. 2020, algorithm 1).
    Momentum acts on the lifted steps, as directions don't outlive a step.

    Args:
        params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
        learning_rate: η, a number or an Optax schedule. RBD moves by about d/D of a gradient step,
            so a good η is larger than SGD's; with error feedback it is SGD's or somewhat smaller.
        seed: names the directions, 0 to 2³² - 1.
        exchange: how workers combine coordinates.
        options: below; see `RandomSubspace`, `RecentSubspace` and `in_subspace`.

    Raises:
        InvalidInput: an argument that can't be used; says which and what to do.
    """
    return _made(RBD(**options), params, learning_rate, seed, exchange)


@takes_fields_of(FPD)
def fpd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    seed: int | Array = 0,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Fixed projection descent: SGD in one random subspace, ``θ = θ₀ + P c`` (Li et al. 2018).

    Arguments and errors as for `rbd`; momentum acts on the coordinates.
    """
    return _made(FPD(**options), params, learning_rate, seed, exchange)


@takes_fields_of(NES)
def nes(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    seed: int | Array = 0,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Natural evolution strategies: as `rbd`, but gradients are estimated from losses.

    Its ``update`` needs ``params`` and ``value_fn``, the loss as a function of the parameters.
    A generation costs little more than its forward passes with ``countsketch`` and ``coordinate``;
    with row bases lifting one direction costs as much as lifting all, so keep d small there.

    Arguments and errors as for `rbd`; see `subspace.Evolution`.
    """
    return _made(NES(**options), params, learning_rate, seed, exchange)


@takes_fields_of(RBDInLaw)
def rbd_in_law(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    seed: int | Array = 0,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """`rbd` with ideal normal rows, in law: a step's cost hardly depends on ``dim``.

    An instrument for study: there are no coordinates, so workers exchange the gradient's D numbers
    and not d, and a run can't be replayed from what they exchanged.

    Arguments and errors as for `rbd`; momentum too acts as there.
    """
    return _made(RBDInLaw(**options), params, learning_rate, seed, exchange)


@takes_fields_of(SGD)
def sgd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Plain SGD with the same interface: the yardstick. ``params`` is not used."""
    return _made(SGD(**options), params, learning_rate, 0, exchange)
