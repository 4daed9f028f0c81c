"""The curvature of a model's layers: what is known of it, and the steps that follow.

Of rows as `subspace.natural.capture` finds them: of a batch with its own labels, so that F is the
empirical Fisher matrix, and with a convolution's inputs averaged and output gradients summed over
positions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from subspace.errors import InvalidInput
from subspace.natural.capture import Rows, as_matrix, from_matrix, layers, replaced, sizes
from subspace.optim.workers import AbstractWorkers


class Seen(NamedTuple):
    """What a refresh sees of one layer: the rows of this worker, and how the others' are reached.

    Attributes:
        key: of this layer's draws, the same on all workers.
    """

    rows: Rows
    key: Key[Array, ""]
    workers: AbstractWorkers


class AbstractCurvature(eqx.Module):
    """Curvature of a model; what is known of it is a pytree with a method ``figures()``."""

    @abstractmethod
    def start(self, params: PyTree) -> Any:
        """What is known before any rows are seen."""

    @abstractmethod
    def refresh(self, known: Any, seen: dict[str, Seen]) -> Any:
        """What is known after rows of every layer were seen; the same on all workers."""

    @abstractmethod
    def step(self, known: Any, grads: PyTree) -> tuple[PyTree, Any]:
        """``(F̂ + αI)⁻¹ g`` for every layer, and what is known after the step.

        Gradients are the mean over workers; those of arrays in no layer stay as they are.
        """


class Factors(NamedTuple):
    """What is known where every layer is treated alike, and by itself.

    Attributes:
        factors: of each layer, by path.
        refreshes: so far.
    """

    factors: dict[str, Any]
    refreshes: Int[Array, ""]

    def figures(self) -> dict[str, int | float]:
        """For the records."""
        return {"refreshes": int(self.refreshes)}


class AbstractLayerwise(AbstractCurvature):
    """A factor for each layer; a subclass says how one is made. Gradients are (a, b) matrices."""

    @abstractmethod
    def first_factor(self, inputs: int, outputs: int) -> PyTree:
        """The factor of a layer before any rows are seen."""

    @abstractmethod
    def measure(self, seen: Seen) -> PyTree:
        """What a refresh takes from a layer's rows, on which all workers agree."""

    @abstractmethod
    def next_factor(self, previous: PyTree, measured: PyTree) -> PyTree:
        """A layer's factor after a refresh."""

    @abstractmethod
    def precondition(self, factor: PyTree, gradient: Float[Array, "a b"]) -> Float[Array, "a b"]:
        """``(F̂ + αI)⁻¹ g`` of a layer."""

    def start(self, params: PyTree) -> Factors:
        found = layers(params).items()
        factors = {path: self.first_factor(*sizes(layer)) for path, layer in found}
        return Factors(factors, jnp.int32(0))

    def refresh(self, known: Factors, seen: dict[str, Seen]) -> Factors:
        return self.with_measured(known, self.measure_all(seen))

    def measure_all(self, seen: dict[str, Seen]) -> dict[str, PyTree]:
        """The first half of a refresh, in which workers exchange."""
        return {path: self.measure(one) for path, one in seen.items()}

    def with_measured(self, known: Factors, measured: dict[str, PyTree]) -> Factors:
        """The second half of a refresh."""
        factors = {
            path: self.next_factor(known.factors[path], one) for path, one in measured.items()
        }
        return Factors(factors, known.refreshes + 1)

    def step(self, known: Factors, grads: PyTree) -> tuple[PyTree, Factors]:
        def stepped(path: str, layer: Any) -> Any:
            step = self.precondition(known.factors[path], as_matrix(layer))
            return from_matrix(step, layer)

        return replaced(grads, stepped), known


def check_damping(damping: float) -> None:
    """Raises InvalidInput unless α is a positive number."""
    if not (damping > 0 and math.isfinite(damping)):
        raise InvalidInput("damping", f"must be a positive number, got {damping}")
