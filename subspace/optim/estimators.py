"""Estimators: how the gradient is measured in the coordinates of a subspace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from subspace.errors import InvalidInput, one_of
from subspace.spaces.base import AbstractSubspace, Coords


class AbstractEstimator(eqx.Module):
    """Measures the loss's projected gradient: its derivative in each coordinate of a subspace."""

    @abstractmethod
    def __call__(
        self,
        space: AbstractSubspace,
        grads: PyTree,
        params: PyTree | None,
        value_fn: Callable[..., object] | None,
    ) -> Coords:
        """The projected gradient as this worker sees it, or what `shape` makes it from."""

    @abstractmethod
    def shape(self, agreed: Coords) -> Coords:
        """What an optimizer is to see of what all workers agreed on."""


@final
class Backprop(AbstractEstimator):
    """Projects a back-propagated gradient: ``Pᵀ g``."""

    def __call__(
        self,
        space: AbstractSubspace,
        grads: PyTree,
        params: PyTree | None,
        value_fn: Callable[..., object] | None,
    ) -> Coords:
        return space.project(grads)

    def shape(self, agreed: Coords) -> Coords:
        return agreed


_TOGETHER = 8
SHAPING = ("ranks", "normalise", "none")


@final
class Evolution(AbstractEstimator):
    """Evaluates the loss a little way along each direction; needs no gradient.

    Evolution strategies (Salimans et al. 2017) in the coordinates of a subspace. Without shaping a
    coordinate is a difference quotient over the length ``l = σ √D``, which tends to
    back-propagation's ``φᵢ·g`` as sigma falls: with ``antithetic``
    ``(L(θ+lφᵢ) - L(θ-lφᵢ)) / 2l``, else ``(L(θ+lφᵢ) - L(θ)) / l``. With shaping it is
    ``F(Lᵢ) / (σ d)`` as in the RBD reference code, where Lᵢ is ``L(θ+lφᵢ)``, or half the antithetic
    difference, and F its centred rank in [-1/2, 1/2] or its standard score.

    Attributes:
        sigma: standard deviation of the perturbation of each of the D parameters, when it goes
            along a direction of unit length.
        antithetic: evaluate both ways; twice the evaluations, and even terms cancel.
        shaping: ``"ranks"``, ``"normalise"`` or ``"none"``.
        chunk: directions that are evaluated together, which bounds memory to about
            ``chunk`` copies of the parameters and activations; None for one on a CPU, where
            products with several matrices at once take three times as long, and 8 elsewhere.
        separate_batches: measure each direction on a share of its own of the step's examples, as
            the RBD reference code does: ``value_fn(params, (i, d))`` is then to return the loss on
            the i-th of d shares.
    """

    sigma: float = eqx.field(static=True, default=0.01)
    antithetic: bool = eqx.field(static=True, default=True)
    shaping: str = eqx.field(static=True, default="none")
    chunk: int | None = eqx.field(static=True, default=None)
    separate_batches: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not 0 < self.sigma < float("inf"):
            raise InvalidInput("sigma", f"must be a positive number, got {self.sigma}")
        one_of("shaping", self.shaping, SHAPING)

    def __call__(
        self,
        space: AbstractSubspace,
        grads: PyTree,
        params: PyTree | None,
        value_fn: Callable[..., object] | None,
    ) -> Coords:
        if params is None or value_fn is None:
            raise InvalidInput(
                "update", "Evolution needs params and value_fn=, the loss of parameters"
            )
        origin, unravel = ravel_pytree(space.origin())
        length = self.sigma * sum(leaf.size for leaf in jax.tree.leaves(params)) ** 0.5
        lift = space.lifter()

        def loss(i: Int[Array, ""], distance: float) -> Any:
            one = jnp.zeros_like(origin).at[i].set(distance)
            moved = jax.tree.map(jnp.add, params, lift(unravel(one)))
            return value_fn(moved, *([(i, origin.size)] if self.separate_batches else []))

        def measure(i: Int[Array, ""]) -> Any:
            ahead = loss(i, length)
            return (ahead - loss(i, -length)) / 2 if self.antithetic else ahead

        values = self._each(measure, origin.size)
        if self.shaping != "none":
            return unravel(values)
        base: Any = 0.0 if self.antithetic else value_fn(params)
        return unravel((values - base) / length)

    def _each(self, measure: Callable[[Int[Array, ""]], Any], count: int) -> Float[Array, " d"]:
        """``measure`` of 0 … count - 1, so many at once as is best."""

        def measured(chunk: int | None) -> Callable[[Int[Array, " d"]], Any]:
            return lambda each: lax.map(measure, each, batch_size=chunk)

        if self.chunk is not None:
            return measured(self.chunk)(jnp.arange(count))
        one, several = measured(None), measured(_TOGETHER)
        return lax.platform_dependent(jnp.arange(count), cpu=one, default=several)

    def shape(self, agreed: Coords) -> Coords:
        if self.shaping == "none":
            return agreed
        values, unravel = ravel_pytree(agreed)
        return unravel(_fitness(values, self.shaping) / (self.sigma * values.size))


def _fitness(values: Float[Array, " d"], shaping: str) -> Float[Array, " d"]:
    """Centred ranks in [-1/2, 1/2], or standard scores."""
    if shaping == "ranks":
        ordered = jnp.sort(values)
        below, upto = (jnp.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        ranks = (below + upto - 1).astype(values.dtype) / 2  # equal losses share their mean rank
        known = ~jnp.any(jnp.isnan(values))  # what is no number has no rank
        return jnp.where(known, ranks / max(values.size - 1, 1) - 0.5, jnp.nan)
    spread = jnp.std(values) + 1e-8  # losses that are all equal have none
    return (values - jnp.mean(values)) / spread
