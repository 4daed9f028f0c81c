"""HyLo's hybrid: one way to keep rows in critical epochs, and a cheaper one in others."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PyTree

from subspace.natural.critical import CriticalEpochs, CriticalState
from subspace.natural.curvature import AbstractCurvature, AbstractLayerwise, Factors, Seen

HYBRID = "hybrid"
SELECTIONS = (HYBRID, "kid", "kis")
"""How HyLo chooses the rows that it keeps."""


class HybridState(NamedTuple):
    """What a `Hybrid` knows.

    Attributes:
        layers: the factors of the newest refresh.
        critical_refreshes: how many of the refreshes were in critical epochs.
        epochs: by which the next one is judged.
    """

    layers: Factors
    critical_refreshes: Int[Array, ""]
    epochs: CriticalState

    def figures(self) -> dict[str, int | float]:
        """For the records; no change of the gradient before there are two epochs to compare."""
        kid, change = int(self.critical_refreshes), float(self.epochs.change)
        found = {"kid_refreshes": kid, "kis_refreshes": int(self.layers.refreshes) - kid}
        return found | ({"gradient_change": change} if math.isfinite(change) else {})


@final
class Hybrid(AbstractCurvature):
    """KID in critical epochs, in which curvature is worth more care, KIS in others.

    Attributes:
        kid: how critical epochs measure rows, and how factors are made and stepped with.
        kis: how other epochs measure rows.
        criterion: which epochs are critical.
    """

    kid: AbstractLayerwise
    kis: AbstractLayerwise
    criterion: CriticalEpochs

    def start(self, params: PyTree) -> HybridState:
        layers, epochs = self.kid.start(params), self.criterion.start(params)
        return HybridState(layers, jnp.int32(0), epochs)

    def refresh(self, known: HybridState, seen: dict[str, Seen]) -> HybridState:
        critical = known.epochs.critical
        # what is kept differs, what is made of it doesn't, and so is compiled once
        measured = lax.cond(
            critical, lambda: self.kid.measure_all(seen), lambda: self.kis.measure_all(seen)
        )
        layers = self.kid.with_measured(known.layers, measured)
        count = known.critical_refreshes + critical.astype(jnp.int32)
        return HybridState(layers, count, known.epochs)

    def step(self, known: HybridState, grads: PyTree) -> tuple[PyTree, HybridState]:
        steps, layers = self.kid.step(known.layers, grads)
        epochs = self.criterion.after(known.epochs, grads)
        return steps, known._replace(layers=layers, epochs=epochs)
