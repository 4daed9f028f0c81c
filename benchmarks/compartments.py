"""How long many compartments take to compile: leaves of one shape, a compartment each.

    python benchmarks/compartments.py [--json]

Seconds of tracing and compiling one update, in this process; for comparison those of plain SGD.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import measure
import optax

import subspace


def seconds(optimizer: Any, params: Any) -> float:
    state = optimizer.init(params)
    start = time.perf_counter()
    jax.jit(optimizer.update).lower(params, state, params).compile()
    return time.perf_counter() - start


def main() -> None:
    options = measure.parser(__doc__).parse_args()
    rows = []
    for leaves in (50, 200, 800):
        params = {f"leaf{i}": jnp.zeros((64, 32)) for i in range(leaves)}
        row: dict[str, Any] = {"leaves": leaves, "sgd": seconds(optax.sgd(0.1), params)}
        for basis in ("countsketch", "hadamard", "rademacher"):
            optimizer = subspace.rbd(params, 0.1, dim=10, compartments="leaf", basis=basis)
            row[basis] = seconds(optimizer, params)
        rows.append(row)
    measure.show("Seconds to compile an update", rows, options.json)


if __name__ == "__main__":
    main()
