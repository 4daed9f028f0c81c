"""What a collective between two processes of this machine costs: python benchmarks/collectives.py

Times chains of all-reduces between 2 processes of one CPU device each, free to use all cores and
pinned to one each; the milliseconds are those of one all-reduce, the median over the repeats.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import measure

NUMBERS = (16, 252, 122_570)
CHAIN = 20


def one_process(port: str, index: int, repeats: int, pinned: bool) -> None:
    """One of the two; the first prints ``numbers milliseconds`` a line."""
    if pinned and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index]})
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    jax.config.update("jax_num_cpu_devices", 1)
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
    mesh = jax.make_mesh((2,), ("data",))

    def chain(x: jax.Array) -> jax.Array:
        for _ in range(CHAIN):
            x = jax.lax.pmean(x, "data") * 1.0001  # each waits for the one before
        return x

    everywhere = PartitionSpec()
    step = jax.jit(jax.shard_map(chain, mesh=mesh, in_specs=everywhere, out_specs=everywhere))
    for numbers in NUMBERS:
        ones = np.ones(numbers, np.float32)
        x = jax.block_until_ready(step(jax.device_put(ones, NamedSharding(mesh, everywhere))))
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            x = jax.block_until_ready(step(x))
            times.append((time.perf_counter() - start) / CHAIN)
        if index == 0:
            print(numbers, 1e3 * sorted(times)[len(times) // 2], flush=True)


def measured(repeats: int, pinned: bool) -> dict[int, float]:
    """Milliseconds of an all-reduce, by its numbers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, __file__, "--process", str(port), "--repeats", str(repeats)]
    command += ["--pinned"] if pinned else []
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    pair = [
        subprocess.Popen(
            [*command, "--index", str(index)], env=env, stdout=subprocess.PIPE, text=True
        )
        for index in range(2)
    ]
    printed = [process.communicate()[0] for process in pair]
    lines = [line.split() for line in printed[0].splitlines()]
    return {int(line[0]): float(line[1]) for line in lines if line[0].isdigit()}


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.set_defaults(repeats=50)
    arguments.add_argument("--process", help="port; used by the benchmark itself")
    arguments.add_argument("--index", type=int)
    arguments.add_argument("--pinned", action="store_true")
    options = arguments.parse_args()
    if options.process:
        return one_process(options.process, options.index, options.repeats, options.pinned)
    found = {pinned: measured(options.repeats, pinned) for pinned in (False, True)}
    rows = [
        {"numbers": numbers, "free, ms": found[False][numbers], "pinned, ms": found[True][numbers]}
        for numbers in NUMBERS
    ]
    measure.show("An all-reduce between 2 processes of one machine", rows, options.json)


if __name__ == "__main__":
    main()
