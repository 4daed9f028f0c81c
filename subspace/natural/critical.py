"""HyLo's criterion: when a run is in a critical phase, in which curvature is worth more care."""

from __future__ import annotations

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from subspace.errors import InvalidInput


class CriticalState(NamedTuple):
    """What `CriticalEpochs` remembers.

    Attributes:
        steps: so far.
        total: the sum of the epoch's gradients, D numbers.
        previous: the norm of that of the epoch before; 0 in the first.
        change: the relative change of that norm at the last end of an epoch; at first infinite.
        critical: whether this epoch is.
    """

    steps: Int[Array, ""]
    total: PyTree
    previous: Float[Array, ""]
    change: Float[Array, ""]
    critical: Bool[Array, ""]


@final
class CriticalEpochs(eqx.Module):
    """Critical are the first two epochs, each that begins with a drop of the learning rate, and
    each after one in which the norm of the summed gradient changed by ``threshold`` or more,
    relative to that of the epoch before (HyLo, Mu et al. 2022).

    Attributes:
        steps: of an epoch.
        threshold: 0 or more.
        drops: epochs after which the learning rate drops.
    """

    steps: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True, default=0.5)
    drops: tuple[int, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        if not self.threshold >= 0:
            raise InvalidInput("threshold", f"must be 0 or more, got {self.threshold}")

    def start(self, params: PyTree) -> CriticalState:
        """Before the first step."""
        total = jax.tree.map(jnp.zeros_like, params)
        infinite = jnp.float32(jnp.inf)
        return CriticalState(jnp.int32(0), total, jnp.float32(0), infinite, jnp.bool_(True))

    def after(self, state: CriticalState, grads: PyTree) -> CriticalState:
        """After a step of which ``grads`` was the gradient."""
        done = state.steps + 1
        total = jax.tree.map(jnp.add, state.total, grads)
        ends = done % self.steps == 0
        norm = optax.tree.norm(total)
        change = jnp.abs(norm - state.previous) / state.previous  # infinite after the first epoch
        drops = jnp.any(done // self.steps == jnp.asarray(self.drops, jnp.int32))
        return CriticalState(
            done,
            jax.tree.map(lambda x: jnp.where(ends, 0, x).astype(x.dtype), total),
            jnp.where(ends, norm, state.previous),
            jnp.where(ends, change, state.change),
            jnp.where(ends, drops | (change >= self.threshold), state.critical),
        )
