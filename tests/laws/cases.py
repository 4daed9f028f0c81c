"""What the laws are asserted of: every basis, as the matrix that its two maps stand for."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subspace.basis import BASES

NAMES = tuple(BASES)
ZERO_MEAN = tuple(name for name in NAMES if name != "bernoulli_paper")
ORTHONORMAL = ("countsketch", "hadamard", "coordinate")
PREFIXED = tuple(name for name in NAMES if name != "countsketch")
"""The first rows of a draw don't depend on how many there are; countsketch has larger buckets."""
SIZES = ((1, 1), (3, 3), (1000, 41))
"""(n, d): the least, d = n, and d no multiple of a chunk, of 2 or of 32 rows a word."""


def basis(name):
    return BASES[name][0]


def key(seed):
    return jax.random.key(seed, impl="threefry2x32")


def keys(count, root=0):
    return jax.vmap(lambda i: jax.random.fold_in(key(root), i))(jnp.arange(count))


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def matrix(name, n, d, seed=0):
    """P of shape (n, d): its columns are the lifts of unit vectors."""
    return np.asarray(jax.jit(_columns, static_argnums=(0, 2, 3))(name, key(seed), n, d))


def matrices(name, n, d, count):
    """P for ``count`` keys, shape (count, n, d)."""
    draw = jax.vmap(_columns, in_axes=(None, 0, None, None))
    return np.asarray(jax.jit(draw, static_argnums=(0, 2, 3))(name, keys(count), n, d))


def _columns(name, key, n, d):
    return jax.vmap(lambda z: basis(name).lift(key, z, n), out_axes=1)(jnp.eye(d))


class Mean(NamedTuple):
    """A mean over independent draws, and its standard error."""

    mean: np.ndarray
    error: np.ndarray


def mean(samples):
    """Over the first axis."""
    samples = np.asarray(samples, np.float64)
    return Mean(samples.mean(0), samples.std(0) / np.sqrt(len(samples)))
