"""A P-BFGS step over the passes through the network that it contains: ResNet-8, batch 1024, d = 40.

    python benchmarks/pbfgs.py [--json] [--repeats 7] [--batch 1024]

A step computes the loss and its gradient, with shared pairs one more gradient on the same batch,
and the loss at each trial of the line search. Each round times a step, a gradient and a forward
pass in turn; the figure is the step's time over the sum of its own passes' times in that round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax

import subspace
from subspace import models
from subspace.optim.linesearch import search_counts

DIM, TARGET = 40, 1.10
GRADIENTS = {"shared": 2, "paper": 1}


def make_work(pairs: str, batch: int) -> dict[str, Callable[[], Any]]:
    """A step, which returns how many trials it made, a gradient and a forward pass."""
    model, model_state = models.build("resnet8", (32, 32, 3), 10, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    size = models.parameter_count(params)
    walk = np.random.default_rng(0).normal(size=(DIM + 1, size)).astype(np.float32)
    space = subspace.TrajectorySubspace.fit(walk, DIM, params)
    optimizer = subspace.p_bfgs(space, pairs=pairs)
    images = jax.random.normal(jax.random.key(1), (batch, 32, 32, 3))
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)

    def loss(params: Any) -> Any:
        logits, _ = models.apply(eqx.combine(params, static), model_state, images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
        return optax.apply_updates(params, updates), state

    carry = [jax.tree.map(jnp.array, params), optimizer.init(params)]
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*carry).compile()
    gradient, forward = jax.jit(jax.value_and_grad(loss)), jax.jit(loss)

    def advance() -> int:
        before = int(search_counts(carry[1]).trials)  # pyright: ignore
        carry[:] = jax.block_until_ready(compiled(*carry))
        return int(search_counts(carry[1]).trials) - before  # pyright: ignore

    return {
        "step": advance,
        "gradient": lambda: jax.block_until_ready(gradient(carry[0])),
        "forward": lambda: jax.block_until_ready(forward(carry[0])),
    }


def compare(pairs: str, batch: int, repeats: int) -> dict[str, Any]:
    """Medians over rounds in which a step and its passes take turns."""
    work = make_work(pairs, batch)
    for call in work.values():  # a first step has no pair; the others are compiled
        call()
    rounds = []
    for _ in range(repeats):
        (trials, step), (_, gradient), (_, forward) = (
            measure.timed(call) for call in work.values()
        )
        passes = GRADIENTS[pairs] * gradient + trials * forward
        rounds.append((step, gradient, forward, trials, passes))
    step, gradient, forward, trials, passes = zip(*rounds, strict=True)
    ratio, low, high = measure.ratio(step, passes)
    return {
        "pairs": pairs,
        "step, s": statistics.median(step),
        "gradient, s": statistics.median(gradient),
        "forward, s": statistics.median(forward),
        "trials": statistics.median(trials),
        "ratio": ratio,
        "lowest": low,
        "highest": high,
        "target": TARGET,
    }


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.set_defaults(repeats=7)
    arguments.add_argument("--batch", type=int, default=1024)
    options = arguments.parse_args()
    rows = [compare(pairs, options.batch, options.repeats) for pairs in GRADIENTS]
    title = f"P-BFGS step over its passes, ResNet-8, batch {options.batch}, d = {DIM}"
    measure.show(title, rows, options.json)


if __name__ == "__main__":
    main()
