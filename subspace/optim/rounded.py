"""The exchange of coordinates in few bits each."""

from __future__ import annotations

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from subspace.errors import one_of
from subspace.optim.exchange import AbstractExchange, Axis, Told, along
from subspace.optim.workers import AbstractWorkers
from subspace.spaces.base import AbstractSubspace, Coords

ROUNDED = ("bfloat16", "int8")


class Codes(NamedTuple):
    """Numbers in few bits.

    Attributes:
        codes: uint16, the bits of bfloat16; or int8.
        scale: one for each row of int8, that its codes are multiples of; None of bfloat16.
    """

    codes: Int[Array, "*rows n"]
    scale: Float[Array, "*rows"] | None


@final
class Rounded(AbstractExchange):
    """One subspace for all; the mean of its coordinates, told in 16 or 8 bits each.

    Each worker adds up the coordinates of one part of them, and tells the others their mean: of d
    coordinates a worker sends and receives 2 d (K-1)/K numbers, as in an all-reduce, and with int8
    a scale for each part. Both times numbers are rounded up or down by chance, so that the mean is
    right on average; with error feedback what rounding lost is made up for later.

    Attributes:
        kind: ``"bfloat16"`` or ``"int8"``.
        seed: of rounding.
    """

    workers: AbstractWorkers
    kind: str = eqx.field(static=True)
    seed: int = eqx.field(static=True)

    def __init__(self, axis: Axis = "data", kind: str = "int8", seed: int = 0):
        """Workers along ``axis``, a mesh axis or several; see the attributes.

        Raises:
            InvalidInput: unknown ``kind``.
        """
        self.workers = along(axis)
        self.kind, self.seed = one_of("kind", kind, ROUNDED), seed

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return space

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        assert step is not None
        vector, unravel = ravel_pytree(measured)
        count, me = self.workers.count(), self.workers.number()
        key = jax.random.fold_in(jax.random.key(self.seed, impl="threefry2x32"), step)
        parts = jnp.pad(vector, (0, -vector.size % count)).reshape(count, -1)
        first, second = jax.random.split(jax.random.fold_in(key, me))
        told = rounded(parts, self.kind, first)
        mean = jnp.mean(value(self.workers.swap(told)), axis=0)
        again = rounded(mean[None], self.kind, second)
        agreed = value(self.workers.gather(again))
        slip = value(again)[0] - mean  # counts as this worker's, K times as it is of the mean
        credited = value(told).at[me].add(count * slip)

        def coords(rows: Float[Array, "k n"]) -> Coords:
            return unravel(rows.ravel()[: vector.size].astype(vector.dtype))

        # what is agreed on is rounded here, for a replay that reads it: no multiply-add later
        return Told(lax.optimization_barrier(coords(agreed)), coords(credited))

    def trivial(self) -> bool:
        return False

    def shares_directions(self) -> bool:
        return True

    def draws(self) -> bool:
        return True


def rounded(rows: Float[Array, "k n"], kind: str, key: Key[Array, ""]) -> Codes:
    """Each number as one of the two next to it, by chance so that it is right on average."""
    rows = rows.astype(jnp.float32)
    if kind == "bfloat16":
        bits = lax.bitcast_convert_type(rows, jnp.uint32)
        chance = jax.random.bits(key, rows.shape, jnp.uint16).astype(jnp.uint32)
        finite = jnp.isfinite(rows)
        up = jnp.where(finite, bits + chance, bits)
        return Codes((up >> jnp.uint32(16)).astype(jnp.uint16), None)
    largest = jnp.max(jnp.abs(rows), axis=1)
    scale = jnp.where(largest == 0, jnp.ones_like(largest), largest) / 127
    below = jnp.floor(rows / scale[:, None] + jax.random.uniform(key, rows.shape))
    return Codes(jnp.clip(below, -127, 127).astype(jnp.int8), scale)


def value(told: Codes) -> Float[Array, "k n"]:
    """The numbers that codes stand for."""
    if told.scale is None:
        bits = told.codes.astype(jnp.uint32) << jnp.uint32(16)
        return lax.bitcast_convert_type(bits, jnp.float32)
    return told.codes.astype(jnp.float32) * told.scale[:, None]
