"""Time of an RBD step over an SGD step: CNN on 32×32×3, batch 32, every basis.

    python benchmarks/step_overhead.py [--json] [--repeats 15]

Medians over rounds in which all cases take turns. Peak memory is that of a process of its own
for each case; "step memory" is what the compiled step holds besides its arguments and results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import optax

import subspace
from subspace.basis import BASES

CASES = (
    ["sgd"]
    + [f"{basis}:250" for basis in BASES]
    + [f"{basis}:{d}" for basis in ("countsketch", "hadamard") for d in (10, 10_000)]
)
TARGETS = {
    "countsketch": 1.03,
    "hadamard": 1.20,
    "coordinate": 1.10,
    "rademacher": 4.0,
    "normal": 15.0,
}


def make_step(case: str) -> tuple[Callable[[], Any], Any]:
    """A function that makes one training step, and the compiled step."""
    model = subspace.models.CNN((32, 32, 3), 10, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    basis, _, dim = case.partition(":")
    if case == "sgd":
        optimizer = subspace.sgd(params, 0.01)
    else:
        optimizer = subspace.rbd(params, 0.01, dim=int(dim), basis=basis)
    images = jax.random.normal(jax.random.key(1), (32, 32, 32, 3))
    labels = jax.random.randint(jax.random.key(2), (32,), 0, 10)

    def loss(params: Any) -> Any:
        logits = jax.vmap(eqx.combine(params, static))(images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def step(params: Any, state: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    carry = [jax.tree.map(jnp.array, params), optimizer.init(params)]
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*carry).compile()

    def advance() -> Any:
        carry[:] = compiled(*carry)
        return carry

    return advance, compiled


def row(case: str, steps: dict[str, Any], figures: dict[str, list[float]]) -> dict[str, Any]:
    median, low, high = measure.ratio(figures[case], figures["sgd"])
    basis = case.partition(":")[0]
    memory = steps[case][1].memory_analysis()
    return {
        "case": case,
        "ms": sorted(figures[case])[len(figures[case]) // 2] * 1e3,
        "over SGD": median,
        "lowest": low,
        "highest": high,
        "target": TARGETS.get(basis, float("nan")),
        "peak MB": round(measure.peak_memory_of(["--peak-of", case])),
        "step memory MB": memory.temp_size_in_bytes / 1e6,
    }


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.add_argument("--peak-of", help="run this case alone and print its peak memory")
    options = arguments.parse_args()
    if options.peak_of:
        advance, _ = make_step(options.peak_of)
        for _ in range(20):
            jax.block_until_ready(advance())
        print(measure.own_peak_memory())
        return
    steps = {case: make_step(case) for case in CASES}
    work = {case: advance for case, (advance, _) in steps.items()}
    figures = measure.interleaved(work, options.repeats)
    rows = [row(case, steps, figures) for case in CASES]
    measure.show("RBD step over SGD step, CNN 32×32×3, batch 32", rows, options.json)


if __name__ == "__main__":
    main()
