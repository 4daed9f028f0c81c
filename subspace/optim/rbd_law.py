"""RBD in law: its update drawn from its exact distribution, without drawing a direction.

With rows φᵢ uniform on the unit sphere of ℝⁿ, i = 1 … d, RBD updates by ``u = Σᵢ (φᵢ·g) φᵢ``. Let
ĝ = g/‖g‖, and tᵢ = φᵢ·ĝ, the first coordinate of a uniform point. Then, all draws independent,

    u = ‖g‖ (Σᵢ tᵢ² ĝ + s w),   w uniform on the unit sphere orthogonal to ĝ,

where s is the length of the sum of d isotropic steps of lengths aᵢ = |tᵢ| √(1 - tᵢ²) in n - 1
dimensions: O(n + d) work instead of O(n d). Both parts are exact and free of rejection:

- The first two coordinates of a uniform point of ℝⁿ have a uniform angle θ and, at radius r,
  r² ~ Beta(1, (n-2)/2), so that ``t = √(1 - U^(2/(n-2))) cos θ``: no gamma variates.
- |x + y| of independent isotropic x and y depends on |x|, |y| and the cosine τ between them, which
  is the first coordinate of a uniform point of ℝⁿ⁻¹, and the direction of x + y is again uniform
  and independent of all lengths. So steps add up in any order, here as a binary tree: ⌈log₂ d⌉
  passes over an array. A scan over d is as fast on a CPU, but d kernels in a row on a GPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int32, Key, PyTree, UInt32

from subspace.optim.arguments import check_alike
from subspace.spaces.allocate import allocate as allocate_dims
from subspace.spaces.partition import Label, Partition, divide
from subspace.spaces.seed import seed_word

_T = TypeVar("_T", bound=Any)


class LawState(NamedTuple):
    """What names the next draw."""

    seed: UInt32[Array, ""]
    step: Int32[Array, ""]


def scale_by_rbd_law(
    params: PyTree,
    *,
    dim: int,
    compartments: str | Label | Partition = "whole",
    allocate: str = "same",
    seed: int | Array = 0,
) -> optax.GradientTransformation:
    """Maps a gradient to a sample of RBD's ``Σᵢ (φᵢ·g) φᵢ``, afresh for each compartment and step.

    The draw of compartment c at step k is a function of (seed, k, c) alone. Frozen leaves get 0.

    Args:
        params, dim, compartments, allocate, seed: see `subspace.RandomSubspace`.

    Raises:
        InvalidInput: an argument that can't be used; says which and what to do.
    """
    partition = divide(params, compartments)
    dims = allocate_dims(partition.sizes, dim, allocate)
    word = seed_word(seed)

    def init(params: PyTree) -> LawState:
        del params
        return LawState(jnp.array(word), jnp.array(0, jnp.int32))

    def update(
        updates: PyTree, state: LawState, params: PyTree | None = None
    ) -> tuple[PyTree, LawState]:
        del params
        check_alike("updates", updates, list(partition.leaves))
        root = jax.random.fold_in(jax.random.key(state.seed, impl="threefry2x32"), state.step)
        flats = partition.split(updates)
        drawn = {
            name: sample_step(jax.random.fold_in(root, i), flats[name], d)
            for i, (name, d) in enumerate(dims.items())
        }
        return partition.join(drawn), state._replace(step=state.step + 1)

    return optax.GradientTransformation(init, update)  # pyright: ignore


def sample_step(key: Key[Array, ""], g: Float[Array, " n"], d: int) -> Float[Array, " n"]:
    """A draw of ``Σᵢ (φᵢ·g) φᵢ`` over d unit normal rows; d may exceed n. Zero for g = 0."""
    n = g.size
    if n == 1:
        return d * g  # every row is ±1
    of_lengths, of_direction = jax.random.split(key)
    along, across = (x.astype(g.dtype) for x in _lengths(of_lengths, n, d))
    norm, unit = _polar(g)
    return along * g + norm * across * _orthogonal(of_direction, unit)


def _lengths(key: Key[Array, ""], n: int, d: int) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """``Σᵢ tᵢ²`` and s."""
    pairs = d + d.bit_length()  # d - 1 in the tree, and at most one more a level
    words = _drawn(jax.random.bits(key, (2, d + pairs), jnp.uint32))
    t, rest = first_coordinates(words[:, :d], n)
    cosines, _ = _drawn(first_coordinates(words[:, d:], n - 1))
    steps, used = jnp.abs(t) * jnp.sqrt(rest), 0
    while steps.size > 1:
        x, y = jnp.split(jnp.pad(steps, (0, steps.size % 2)), 2)
        opening = 1 + cosines[used : used + x.size]
        steps = jnp.sqrt((x - y) ** 2 + 2 * x * y * opening)  # no difference that rounds below 0
        used += x.size
    return jnp.sum(t**2), steps[0]


def first_coordinates(
    words: UInt32[Array, "2 count"], n: int
) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
    """t, the first coordinate of uniform points on the unit sphere of ℝⁿ, and 1 - t².

    From two random words each: ``t = r cos θ`` and ``1 - t² = (1 - r²) + r² sin² θ`` with
    ``1 - r² = U^(2/(n-2))``, so that neither loses digits where it is small.
    """
    first, second = words.astype(jnp.float32)
    if n == 1:
        sign = jnp.where(first < np.float32(2**31), np.float32(-1), np.float32(1))
        return sign, jnp.zeros_like(sign)
    log_u = jnp.log((first + np.float32(0.5)) * np.float32(2**-32))  # down to -22.9
    log_u = jnp.minimum(log_u, np.float32(-1e-9))  # ∞ · 0 at n = 2 otherwise
    power = np.float32(2 / (n - 2) if n > 2 else np.inf) * log_u
    turn = (second - np.float32(2**31)) * np.float32(np.pi * 2**-31)
    r2 = -jnp.expm1(power)
    return jnp.sqrt(r2) * jnp.cos(turn), jnp.exp(power) + r2 * jnp.sin(turn) ** 2


def _drawn(x: _T) -> _T:
    """x itself; without this barrier XLA computes random numbers again at every use."""
    return lax.optimization_barrier(x)


def _polar(g: Float[Array, " n"]) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """‖g‖ and g/‖g‖, without under- or overflow of the squares; both zero where g is."""
    peak = jnp.max(jnp.abs(g))
    scaled = g / jnp.where(peak == 0, 1, peak)
    norm = jnp.sqrt(jnp.sum(scaled**2))
    return peak * norm, scaled / jnp.maximum(norm, 1)  # at least 1 unless g = 0


def _orthogonal(key: Key[Array, ""], unit: Float[Array, " n"]) -> Float[Array, " n"]:
    """A uniform unit vector orthogonal to ``unit``, n ≥ 2.

    One orthogonal to e₀, reflected: ``w = (I - 2 v vᵀ/‖v‖²) z`` with ``v = ĝ ± e₀``, the sign that
    of ĝ₀, takes ∓e₀ to ĝ. It stays a unit vector in any position and any n; projecting z wouldn't.
    """
    z = _drawn(jax.random.normal(key, unit.shape, unit.dtype)).at[0].set(0)
    z /= jnp.sqrt(jnp.maximum(jnp.sum(z**2), jnp.finfo(z.dtype).tiny))  # 0 once in 2²³ at n = 2
    first = unit[0]
    v = unit.at[0].add(jnp.where(first < 0, -1, 1).astype(unit.dtype))
    return z - v * (jnp.sum(unit * z) / (1 + jnp.abs(first)))
