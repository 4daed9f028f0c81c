"""Methods along natural gradients: HyLo, SNGD and K-FAC."""

from __future__ import annotations

import optax
from jaxtyping import PyTree

from subspace.errors import InvalidInput, one_of
from subspace.natural.critical import CriticalEpochs
from subspace.natural.curvature import AbstractLayerwise
from subspace.natural.hybrid import HYBRID, SELECTIONS, Hybrid
from subspace.natural.kronecker import Kronecker
from subspace.natural.lowrank import LowRank
from subspace.natural.memory import Memory
from subspace.natural.scale_by_curvature import scale_by_curvature
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.in_subspace import chain


def hylo(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    steps: int,
    rank: int | float = 0.1,
    damping: float = 0.3,
    refresh: int = 100,
    selection: str = HYBRID,
    threshold: float = 0.5,
    memory: int = 1,
    milestones: tuple[int, ...] = (),
    momentum: float = 0.0,
    seed: int = 0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """HyLo (Mu et al. 2022): natural gradients from a few examples of the batch, then SGD.

    ``update`` takes ``rows_fn``, a function from parameters to the rows of the step's batch that
    `subspace.natural.capture.capture` finds.

    Args:
        params: of the model, as from ``eqx.partition``; `subspace.natural.capture.layers` says
            which of its layers count. The gradient of other parameters passes through.
        batch_size: examples of a step on all workers together, n.
        steps: of an epoch, at whose end the selection is chosen.
        rank: fraction of the examples that is kept.
        damping: α.
        refresh: steps between refreshes.
        selection: ``"kid"``, ``"kis"``, see `subspace.natural.lowrank.keep`, or
            ``"hybrid"``: KID in critical epochs, KIS in others, see
            `subspace.natural.critical.CriticalEpochs`.
        threshold, milestones: when an epoch is critical; milestones are epochs after which the
            learning rate drops.
        memory: refreshes whose rows are used together; the paper's is 1. See
            `subspace.natural.memory.Memory`.
        momentum: of the steps.
        seed: of KIS.
        exchange: how workers share a step.

    Raises:
        InvalidInput: an argument that can't be used, or there is no layer to capture.

    Example:
        >>> optimizer = hylo(params, 0.1, batch_size=32, steps=1000)
        >>> rows_fn = lambda params: capture(eqx.combine(params, static), loss, batch)
        >>> updates, state = optimizer.update(grads, state, params, rows_fn=rows_fn)
    """
    if not 0 < rank <= 1:
        raise InvalidInput("rank", f"is a fraction of the batch, above 0 up to 1, got {rank}")
    one_of("selection", selection, SELECTIONS)

    def by(kind: str) -> AbstractLayerwise:
        low_rank = LowRank(damping, kind, max(1, round(rank * batch_size)), batch_size)
        return low_rank if memory == 1 else Memory(low_rank, memory)

    if selection == HYBRID:
        criterion = CriticalEpochs(steps, threshold, tuple(milestones))
        curvature = Hybrid(by("kid"), by("kis"), criterion)
    else:
        curvature = by(selection)
    natural = scale_by_curvature(params, curvature, refresh=refresh, seed=seed, exchange=exchange)
    return chain(natural, optax.sgd(learning_rate, momentum or None))


def sngd(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    batch_size: int,
    damping: float = 0.3,
    refresh: int = 100,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """SNGD (Yang et al. 2022), exact in all n examples of the batch, then SGD; see `hylo`."""
    curvature = LowRank(damping, "sngd", batch_size, batch_size)
    natural = scale_by_curvature(params, curvature, refresh=refresh, exchange=exchange)
    return chain(natural, optax.sgd(learning_rate, momentum or None))


def kfac(
    params: PyTree,
    learning_rate: optax.ScalarOrSchedule,
    *,
    damping: float = 0.3,
    refresh: int = 100,
    momentum: float = 0.0,
    exchange: AbstractExchange = Alone(),
) -> optax.GradientTransformationExtraArgs:
    """K-FAC, see `subspace.natural.kronecker.Kronecker`, then SGD; see `hylo`."""
    natural = scale_by_curvature(params, Kronecker(damping), refresh=refresh, exchange=exchange)
    return chain(natural, optax.sgd(learning_rate, momentum or None))
