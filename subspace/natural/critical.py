"""HyLo's switch: when a run is in a critical phase, in which curvature is worth more care."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from subspace.errors import InvalidInput


class SwitchState(NamedTuple):
    """What a `Switch` remembers.

    Attributes:
        total: the sum of the epoch's gradients, D numbers.
        previous: the norm of that of the epoch before; 0 in the first.
        change: the relative change of that norm at the last end of an epoch; at first infinite.
        critical: whether this epoch is.
    """

    total: PyTree
    previous: Float[Array, ""]
    change: Float[Array, ""]
    critical: Bool[Array, ""]


class Switch(NamedTuple):
    """Critical are the first two epochs, each that begins with a drop of the learning rate, and
    each after one in which the norm of the summed gradient changed by ``threshold`` or more,
    relative to that of the epoch before (HyLo, Mu et al. 2022).

    Attributes:
        steps: of an epoch.
        threshold: 0 or more.
        drops: epochs after which the learning rate drops.
    """

    steps: int
    threshold: float = 0.5
    drops: tuple[int, ...] = ()

    def check(self) -> None:
        """Raises InvalidInput if the threshold can't be used."""
        if not self.threshold >= 0:
            raise InvalidInput("threshold", f"must be 0 or more, got {self.threshold}")

    def start(self, params: PyTree) -> SwitchState:
        """Before the first step."""
        total = jax.tree.map(jnp.zeros_like, params)
        return SwitchState(total, jnp.float32(0), jnp.float32(jnp.inf), jnp.bool_(True))

    def after(self, state: SwitchState, grads: PyTree, done: Int[Array, ""]) -> SwitchState:
        """After a step of which ``grads`` was the gradient; ``done`` counts it."""
        total = jax.tree.map(jnp.add, state.total, grads)
        ends = done % self.steps == 0
        norm = optax.tree.norm(total)
        change = jnp.abs(norm - state.previous) / state.previous  # infinite after the first epoch
        drops = jnp.any(done // self.steps == jnp.asarray(self.drops, jnp.int32))
        return SwitchState(
            jax.tree.map(lambda x: jnp.where(ends, 0, x).astype(x.dtype), total),
            jnp.where(ends, norm, state.previous),
            jnp.where(ends, change, state.change),
            jnp.where(ends, drops | (change >= self.threshold), state.critical),
        )
