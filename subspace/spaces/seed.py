"""Seeds: what names random directions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, UInt32

from subspace.errors import InvalidInput


def seed_word(seed: Any) -> UInt32[Array, ""]:
    """A seed as an array: a whole number, or an array of one, traced too, as for an ensemble.

    Raises:
        InvalidInput: it is something else, or known and not between 0 and 2³² - 1.
    """
    traced = isinstance(seed, Tracer)
    array = isinstance(seed, jax.Array | np.ndarray | np.integer)
    if array and np.ndim(seed) == 0 and jnp.issubdtype(seed.dtype, jnp.integer):
        if traced:
            return jnp.asarray(seed, jnp.uint32)
        seed = int(seed)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InvalidInput("seed", f"must be a whole number between 0 and 2**32 - 1, got {seed!r}")
    return jnp.asarray(seed, jnp.uint32)
