"""Keeps XLA's CPU compiler from computing a value anew for each of its uses."""

from __future__ import annotations

import jax
from jaxtyping import Array


def once(x: Array) -> Array:
    """The same value, written to memory on a CPU, where several operations read it.

    XLA would fuse what gives ``x`` into each of them. Along a network's skip connections that adds
    up: every block would compute all sums before it again, forward and backward.
    """
    return jax.lax.optimization_barrier(x) if jax.default_backend() == "cpu" else x
