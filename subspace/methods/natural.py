"""Methods along natural gradients: HyLo, SNGD and K-FAC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import optax
from jaxtyping import PyTree

from subspace.methods.base import Context, Method, register, takes_fields_of
from subspace.methods.schedule import momentum
from subspace.natural.critical import CriticalEpochs
from subspace.natural.curvature import AbstractLayerwise
from subspace.natural.hybrid import HYBRID, SELECTIONS, Hybrid
from subspace.natural.kronecker import Kronecker
from subspace.natural.lowrank import LowRank
from subspace.natural.memory import Memory
from subspace.natural.scale_by_curvature import scale_by_curvature
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import chain
from subspace.options import option

_PANEL = "Natural gradients"


@dataclass(frozen=True, kw_only=True)
class Natural(Method):
    """A method along ``(F + αI)⁻¹ g``."""

    needs_rows: ClassVar[bool] = True

    damping: int | float = option(0.3, "α, added to the Fisher matrix.", panel=_PANEL, above=0)
    refresh: int = option(100, "Steps between refreshes of the curvature.", panel=_PANEL, least=1)
    momentum: int | float = momentum(0.9)

    def passes(self, directions: int) -> float:
        return 3.0 + 3.0 / self.refresh  # a refresh sees gradients of its own

    def due(self, step: int, steps: int) -> bool | None:
        return step % self.refresh == 0

    def sgd(
        self, natural: optax.GradientTransformation, context: Context
    ) -> optax.GradientTransformationExtraArgs:
        return chain(natural, optax.sgd(context.learning_rate, self.momentum or None))


@register("hylo")
@dataclass(frozen=True, kw_only=True)
class HyLo(Natural):
    """Natural gradients from a few examples of the batch, now and then refreshed."""

    rank: int | float = option(
        0.1, "Fraction of the batch's examples to keep.", panel=_PANEL, above=0, most=1
    )
    selection: str = option(
        HYBRID,
        "Which examples: kid, kis, or hybrid, kid in critical epochs only.",
        panel=_PANEL,
        choices=SELECTIONS,
    )
    threshold: int | float = option(
        0.5,
        "Relative change of an epoch's gradient norm that makes the next one critical.",
        panel=_PANEL,
        least=0,
    )
    memory: int = option(
        1, "Refreshes whose examples are used together; the paper's is 1.", panel=_PANEL, least=1
    )

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        if self.selection == HYBRID:
            criterion = CriticalEpochs(context.steps, self.threshold, context.milestones)
            curvature = Hybrid(self._by("kid", context), self._by("kis", context), criterion)
        else:
            curvature = self._by(self.selection, context)
        natural = scale_by_curvature(
            target,
            curvature,
            refresh=self.refresh,
            seed=context.seed,
            exchange=context.exchange,
        )
        return self.sgd(natural, context)

    def _by(self, selection: str, context: Context) -> AbstractLayerwise:
        """Curvature from the rows that a selection keeps."""
        count = max(1, round(self.rank * context.batch_size))
        low_rank = LowRank(self.damping, selection, count, context.batch_size)
        return low_rank if self.memory == 1 else Memory(low_rank, self.memory)


@register("sngd")
@dataclass(frozen=True, kw_only=True)
class SNGD(Natural):
    """Natural gradients from all examples of the batch, now and then refreshed."""

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        size = context.batch_size
        curvature = LowRank(self.damping, "sngd", size, size)
        natural = scale_by_curvature(
            target, curvature, refresh=self.refresh, exchange=context.exchange
        )
        return self.sgd(natural, context)


@register("kfac")
@dataclass(frozen=True, kw_only=True)
class KFAC(Natural):
    """K-FAC: natural gradients from a Kronecker product a layer."""

    def build(self, target: PyTree, context: Context) -> optax.GradientTransformationExtraArgs:
        natural = scale_by_curvature(
            target, Kronecker(self.damping), refresh=self.refresh, exchange=context.exchange
        )
        return self.sgd(natural, context)


@takes_fields_of(HyLo)
def hylo(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    steps: int,
    milestones: tuple[int, ...] = (),
    seed: int = 0,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """HyLo (Mu et al. 2022): natural gradients from a few examples of the batch, then SGD.

    ``update`` takes ``rows_fn``, a function from parameters to the rows of the step's batch that
    `subspace.natural.capture.capture` finds.

    Args:
        params: of the model, as from ``eqx.partition``; `subspace.natural.capture.layers` says
            which of its layers count. The gradient of other parameters passes through.
        learning_rate: a number or an Optax schedule.
        batch_size: examples of a step on all workers together, n.
        steps: of an epoch, at whose end the selection is chosen.
        milestones: epochs after which the learning rate drops; each begins a critical one.
        seed: of KIS.
        exchange: how workers share a step.
        options: below; see `subspace.natural.lowrank.keep` for the selections.

    Raises:
        InvalidInput: an argument that can't be used, or there is no layer to capture.

    Examples:
        >>> optimizer = hylo(params, 0.1, batch_size=32, steps=1000)
        >>> rows_fn = lambda params: capture(eqx.combine(params, static), loss, batch)
        >>> updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn)
    """
    context = Context(learning_rate, seed, exchange, batch_size, steps, tuple(milestones))
    return HyLo(**options).build(params, context)


@takes_fields_of(SNGD)
def sngd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """SNGD (Yang et al. 2022), exact in all n examples of the batch, then SGD; see `hylo`."""
    context = Context(learning_rate, exchange=exchange, batch_size=batch_size)
    return SNGD(**options).build(params, context)


@takes_fields_of(KFAC)
def kfac(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    exchange: AbstractExchange = Alone(),
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """K-FAC, see `subspace.natural.kronecker.Kronecker`, then SGD; see `hylo`."""
    return KFAC(**options).build(params, Context(learning_rate, exchange=exchange))
