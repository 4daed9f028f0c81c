"""Time of P Pᵀ g for every basis and d, beside the reference algorithm, at D = 122,570.

    python benchmarks/bases.py [--json] [--repeats 5] [--dims 10,250,1000,10000]

The reference is RBD as its released code does it, written plainly: normal rows drawn one by one
from a seed of their own, three times a step: to dot with the gradient, for their length, and to add
back. Once in NumPy (its fastest generator, SFC64), once in JAX (threefry rows in a loop). It is
linear in d, so its time is that of ``--reference-rows`` rows, scaled. "in-law" draws a step of the
same law without rows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np

from subspace.basis import BASES, get_basis
from subspace.optim.rbd_law import sample_step

SIZE = 122_570
TARGETS = {
    ("normal", 250): 8.0,
    ("rademacher", 250): 40.0,
    ("hadamard", 250): 400.0,
    ("hadamard", 10_000): 10_000.0,
}


def numpy_reference(gradient: np.ndarray, rows: int) -> np.ndarray:
    """``Σ (φᵢ·g) φᵢ`` with every row drawn three times, as the released code does."""

    def row(i: int) -> np.ndarray:
        generator = np.random.Generator(np.random.SFC64(i))
        return generator.standard_normal(SIZE, np.float32)

    total = np.zeros(SIZE, np.float32)
    dots = [row(i) @ gradient for i in range(rows)]
    norms = [np.square(row(i)).sum() for i in range(rows)]
    for i in range(rows):
        total += dots[i] / norms[i] * row(i)
    return total


def jax_reference(gradient: Any, rows: int) -> Any:
    """The same in JAX, compiled: three passes over threefry rows."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(rows))

    def row(key: Any) -> Any:
        return jax.random.normal(key, (SIZE,))

    def add(total: Any, key_and_factor: Any) -> Any:
        key, factor = key_and_factor
        return total + factor * row(key), None

    dots = jax.lax.map(lambda key: row(key) @ gradient, keys)
    norms = jax.lax.map(lambda key: jnp.sum(row(key) ** 2), jax.lax.optimization_barrier(keys))
    return jax.lax.scan(add, jnp.zeros(SIZE), (keys, dots / norms))[0]


def make_work(dims: list[int], rows: int) -> dict[str, Callable[[], Any]]:
    """A call for every case: ``name:d``, and the references for so many rows."""
    gradient = jax.random.normal(jax.random.key(1), (SIZE,))
    plain, key = np.asarray(gradient), jax.random.key(2)
    work: dict[str, Callable[[], Any]] = {}
    for name in BASES:
        basis = get_basis(name)
        for d in dims:
            run = jax.jit(lambda key, g, basis=basis, d=d: basis.filter(key, g, d)[1])
            work[f"{name}:{d}"] = lambda run=run: run(key, gradient)
    for d in dims:
        law = jax.jit(lambda key, g, d=d: sample_step(key, g, d))
        work[f"in-law:{d}"] = lambda law=law: law(key, gradient)
    reference = jax.jit(lambda g: jax_reference(g, rows))
    work["JAX reference"] = lambda: reference(gradient)
    work["NumPy reference"] = lambda: numpy_reference(plain, rows)
    return work


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.set_defaults(repeats=5)
    arguments.add_argument("--dims", default="10,250,1000,10000")
    arguments.add_argument("--reference-rows", type=int, default=50)
    options = arguments.parse_args()
    dims, rows = [int(d) for d in options.dims.split(",")], options.reference_rows
    figures = measure.interleaved(make_work(dims, rows), options.repeats, seconds=0.05)
    table = []
    for case, seconds in figures.items():
        name, _, d = case.partition(":")
        if not d:
            continue
        line: dict[str, Any] = {"basis": name, "d": int(d), "ms": 1e3 * statistics.median(seconds)}
        for kind in ("NumPy", "JAX"):
            scaled = [t * int(d) / rows for t in figures[f"{kind} reference"]]
            line[f"{kind} reference, ms"] = 1e3 * statistics.median(scaled)
            line[f"over {kind}"] = measure.ratio(scaled, seconds)[0]
        table.append(line | {"target": TARGETS.get((name, int(d)), "")})
    measure.show(f"P Pᵀ g at D = {SIZE:,}", table, options.json)


if __name__ == "__main__":
    main()
