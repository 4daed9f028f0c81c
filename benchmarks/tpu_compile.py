"""What a TPU v5e would do with a basis, found out without one: programs are compiled ahead of time.

    pip install libtpu
    python benchmarks/tpu_compile.py [--bases countsketch hadamard coordinate] [--sizes 1e6 1e8]

Bytes are those that the compiled program accesses and temporary memory what it sets aside, both in
units of 4 D bytes, one pass over D float32 numbers. Milliseconds are the compiler's own estimate,
and the last column that over its estimate for ``x + 1``, which reads and writes all numbers once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ |= {  # of a slice of four chips that isn't there
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}

import jax
import jax.numpy as jnp
import measure
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from subspace.basis import get_basis

DIM = 256


def chip() -> Any:
    try:
        found = topologies.get_topology_desc("v5e:2x2", platform="tpu")
    except Exception as error:
        raise SystemExit(f"can't compile for a TPU; pip install libtpu ({error})") from None
    return SingleDeviceSharding(found.devices[0])


def compiled(f: Callable[..., Any], where: Any, n: int, *shapes: int) -> dict[str, Any]:
    """The figures of a program of float32 vectors, or that it needs more memory than there is."""
    args = [jax.ShapeDtypeStruct((n,), jnp.float32, sharding=where) for n in shapes]
    try:
        program = jax.jit(f).lower(*args).compile()
    except Exception as error:
        if "memory" not in str(error).lower():
            raise
        return {"bytes": "out of memory", "temporary": "", "ms": float("nan")}
    unit = 4 * n
    cost: Any = program.cost_analysis()
    memory: Any = program.memory_analysis()
    return {
        "bytes": cost["bytes accessed"] / unit,
        "temporary": memory.temp_size_in_bytes / unit,
        "ms": cost.get("optimal_seconds", float("nan")) * 1e3,
    }


def programs(basis: str, n: int) -> dict[str, tuple[Callable[..., Any], int]]:
    """Functions of a vector, and its length."""
    draws, key = get_basis(basis), jax.random.key(0)
    return {
        "project": (lambda v: draws.project(key, v, DIM), n),
        "lift": (lambda z: draws.lift(key, z, n), DIM),
        "project and lift": (lambda v: draws.filter(key, v, DIM), n),
    }


def rows_of(n: int, bases: list[str], where: Any) -> list[dict[str, Any]]:
    found = {
        "x + 1": compiled(lambda x: x + 1, where, n, n),
        "SGD's update": compiled(lambda p, g: p - 0.1 * g, where, n, n, n),
    }
    for basis in bases:
        for name, (f, length) in programs(basis, n).items():
            found[f"{basis}: {name}"] = compiled(f, where, n, length)
    once = found["x + 1"]["ms"]
    return [
        {"D": f"{n:.0e}", "": name, **row, "times x + 1": row["ms"] / once}
        for name, row in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bases", nargs="+", default=["countsketch", "hadamard", "coordinate"])
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 1e8])
    options, where = parser.parse_args(), chip()
    rows = [row for n in options.sizes for row in rows_of(int(n), options.bases, where)]
    measure.show("Compiled for a TPU v5e", rows, as_json=False)


if __name__ == "__main__":
    main()
