"""Dense row distributions: normal, uniform, Rademacher, and the paper's Bernoulli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, UInt32

from subspace.basis.rows import AbstractRowBasis, measured_norms


@final
class Normal(AbstractRowBasis):
    """Gaussian rows: the paper's choice (RBD, section 3).

    Two rows a word by the Box-Muller transform, 16 bits for the radius (so no entry beyond 4.9
    standard deviations) and 16 for the angle.
    """

    rows_per_word: ClassVar[int] = 2
    entry_rms: ClassVar[float] = 1.0

    def rows(self, words: UInt32[Array, "c n"]) -> Sequence[Float[Array, "c r n"]]:
        upper = (words & np.uint32(0xFFFF)).astype(jnp.float32) + np.float32(0.5)  # no log of 0
        radius = jnp.sqrt(np.float32(-2) * jnp.log(upper * np.float32(2**-16)))
        angle = _high_half(words) + np.float32(0.5)  # never 0, so that no entry is
        sine, cosine = _half_turn(angle * np.float32(2**-16))
        pair = (radius * np.float32(2) * sine * cosine, radius * (cosine**2 - sine**2))
        return tuple(row[:, None] for row in pair)

    def norms(self, rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
        return measured_norms(rows)


@final
class Uniform(AbstractRowBasis):
    """Rows uniform on [-1, 1] before normalisation, 16 bits an entry."""

    rows_per_word: ClassVar[int] = 2
    entry_rms: ClassVar[float] = 3**-0.5

    def rows(self, words: UInt32[Array, "c n"]) -> Sequence[Float[Array, "c r n"]]:
        scale, half = np.float32(2**-15), np.float32(0.5)
        low = _high_half(words << np.uint32(16))
        return tuple(((x + half) * scale)[:, None] for x in (_high_half(words), low))

    def norms(self, rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
        return measured_norms(rows)


@final
class Rademacher(AbstractRowBasis):
    """Rows of ±1/√n: one bit an entry, 32 rows a word."""

    rows_per_word: ClassVar[int] = 32
    entry_rms: ClassVar[float] = 1.0

    def rows(self, words: UInt32[Array, "c n"]) -> Sequence[Float[Array, "c r n"]]:
        return (_signs(words),)

    def norms(self, rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
        return jnp.full(rows.shape[:2], np.sqrt(rows.shape[2]), jnp.float32)


@final
class BernoulliPaper(AbstractRowBasis):
    """What the RBD reference code draws as "zero-mean Bernoulli": 0.5 or -1.5, which it is not.

    For the paper's Table 2 only. ``E[P Pᵀ]`` is not ``(d/n) I``: all rows share the direction of
    the constant vector. `Rademacher` is the zero-mean one.
    """

    rows_per_word: ClassVar[int] = 32
    entry_rms: ClassVar[float] = 1.25**0.5

    def stretch(self, d: int, n: int) -> float:
        del n
        return 1 + (d - 1) / 5  # along the constant vector, with which rows have a cosine² of 1/5

    def rows(self, words: UInt32[Array, "c n"]) -> Sequence[Float[Array, "c r n"]]:
        return (_signs(words) - np.float32(0.5),)

    def norms(self, rows: Float[Array, "c r n"]) -> Float[Array, "c r"]:
        return measured_norms(rows)


def _signs(words: UInt32[Array, "c n"]) -> Float[Array, "c 32 n"]:
    """±1 from each of the 32 bits of a word."""
    one, top = np.uint32(0x3F800000), np.uint32(0x80000000)  # 1.0f, and the sign bit
    shifts = np.arange(32, dtype=np.uint32)[None, :, None]
    return lax.bitcast_convert_type(((words[:, None] << shifts) & top) | one, jnp.float32)


def _high_half(words: UInt32[Array, "c n"]) -> Float[Array, "c n"]:
    """The upper 16 bits as a signed integer, in [-32768, 32767]."""
    signed: Int32[Array, "c n"] = lax.bitcast_convert_type(words, jnp.int32)
    return (signed >> np.int32(16)).astype(jnp.float32)


def _half_turn(t: Float[Array, "c n"]) -> tuple[Float[Array, "c n"], Float[Array, "c n"]]:
    """sin(πt), cos(πt) for |t| ≤ 1/2, to 4e-7: Taylor polynomials, which vectorise."""
    a = np.float32(np.pi) * t
    a2 = a * a
    sine, cosine = jnp.zeros_like(a), jnp.zeros_like(a)
    for k in range(6, -1, -1):
        sine = sine * a2 + np.float32((-1) ** k / _factorial(2 * k + 1))
        cosine = cosine * a2 + np.float32((-1) ** k / _factorial(2 * k))
    return a * sine, cosine


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1, dtype=np.float64)))
