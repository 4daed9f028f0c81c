"""What a trajectory tells of the coordinates along its directions, before the first step."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree


class Prior(NamedTuple):
    """A trajectory that went through a subspace.

    Attributes:
        variances: λ, of the trajectory along each of the d coordinates, above 0.
        length: from its first to its last point.
    """

    variances: Float[Array, " d"]
    length: Float[Array, ""]

    @property
    def metric(self) -> Float[Array, " d"]:
        """``length² λ / λ₁``, λ₁ the largest: squared, how far to go along each coordinate.

        Of a trajectory that came back to where it began the length is ``√λ₁``.
        """
        largest = jnp.max(self.variances)
        return jnp.maximum(self.length**2 / largest, 1) * self.variances

    def inverse_hessian(self, gradient: Float[Array, " d"]) -> Float[Array, " d"]:
        """``κ λ``, the diagonal of a guess; κ such that a step at the gradient is ``length`` long.

        SGD went far where the loss is flat, so λ tells how curvature differs between coordinates.
        1, where there is no such κ.
        """
        scale, length = self.variances.astype(gradient.dtype), self.length.astype(gradient.dtype)
        step = jnp.linalg.norm(scale * gradient)
        gain = length / jnp.where(step > 0, step, 1)
        told = (gain > 0) & jnp.isfinite(gain) & (step > 0)
        return jnp.where(told, gain * scale, 1)


class PriorState(NamedTuple):
    """State of `scale_by_prior`.

    Attributes:
        longest: ``‖λ g‖`` of the gradients so far.
    """

    longest: Float[Array, ""]


def scale_by_prior(prior: Prior) -> optax.GradientTransformation:
    """Multiplies the gradient by ``κ λ``, κ such that no step so far is longer than `Prior.length`.

    A learning rate that follows is a number without a unit: with 1 the longest step is as long as
    the trajectory, whatever the units of loss and parameters, and goes less far along directions in
    which the trajectory did. Where steps of a length raise the loss the gradient grows, and κ
    falls, until they don't.
    """

    def init(params: PyTree) -> PriorState:
        flat, _ = ravel_pytree(params)
        return PriorState(jnp.zeros((), flat.dtype))

    def update(
        updates: PyTree, state: PriorState, params: PyTree | None = None
    ) -> tuple[PyTree, PriorState]:
        del params
        gradient, unravel = ravel_pytree(updates)
        scale = prior.variances.astype(gradient.dtype)
        step = scale * gradient
        longest = jnp.maximum(state.longest, jnp.linalg.norm(step))
        gain = prior.length.astype(gradient.dtype) / jnp.where(longest > 0, longest, 1)
        return unravel(gain * step), PriorState(longest)

    return optax.GradientTransformation(init, update)  # pyright: ignore
