"""Steps of every kind on whatever device JAX finds: a CPU, a GPU or a TPU.

    python benchmarks/accelerator.py [--out FILE] [--quick]

Three sections: whole training steps of networks, updates of 10⁸ parameters, and a generation of
evolution strategies. Milliseconds are medians over rounds in which all take turns; ratios, those
within a round, to the first row of their table. Each table is written when it is done, and a
section stops adding rows after its share of eight minutes. ``--quick`` is for trying it out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax

from subspace import TrajectorySubspace, models, nes, p_bfgs, rbd
from subspace.methods.random import sgd

STRONG = {"error_feedback": True, "recent": 3}
SECONDS = 90.0
"""For a table, compiling included."""


def in_trajectory(params: Any) -> Any:
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    walk = np.random.default_rng(0).normal(size=(17, size)).astype(np.float32)
    return p_bfgs(TrajectorySubspace.fit(np.cumsum(0.01 * walk, axis=0), 15, params))


METHODS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda params: sgd(params, 0.01),
    "rbd, countsketch": lambda params: rbd(params, 0.01),
    "rbd, hadamard": lambda params: rbd(params, 0.01, basis="hadamard"),
    "rbd, coordinate": lambda params: rbd(params, 0.01, basis="coordinate"),
    "rbd, rademacher": lambda params: rbd(params, 0.01, basis="rademacher"),
    "error feedback": lambda params: rbd(params, 0.01, error_feedback=True),
    "strong": lambda params: rbd(params, 0.01, **STRONG),
    "pbfgs, d = 15": in_trajectory,
    "nes, 250 offspring": lambda params: nes(params, 0.01),
}


def network(name: str, shape: tuple[int, ...], batch: int) -> tuple[Any, Callable[[Any], Any]]:
    """Parameters, and the loss of one batch."""
    model, state = models.build(name, shape, 10, key=jax.random.key(0))
    params, static = eqx.partition(models.with_axis(model, ("batch",)), eqx.is_inexact_array)
    images = jax.random.uniform(jax.random.key(1), (batch, *shape))
    labels = jnp.arange(batch) % 10

    def loss(params: Any) -> Any:
        logits, _ = models.apply(eqx.combine(params, static), state, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return params, loss


def stepper(optimizer: Any, params: Any, loss: Callable[[Any], Any]) -> Callable[[], Any]:
    """A call that takes a step from where the last one ended."""

    def step(params: Any, state: Any) -> tuple[Any, Any]:
        value, grads = jax.value_and_grad(loss)(params)
        known = {"value": value, "grad": grads, "value_fn": loss}
        updates, state = optimizer.update(grads, state, params, **known)
        return optax.apply_updates(params, updates), state

    return repeated(step, jax.tree.map(jnp.array, params), optimizer.init(params))


def repeated(step: Callable[..., Any], *carry: Any) -> Callable[[], Any]:
    run, held = jax.jit(step, donate_argnums=tuple(range(len(carry)))), [carry]

    def call() -> Any:
        held[0] = run(*held[0])
        return held[0]

    return call


def compared(work: Iterator[tuple[str, Callable[[], Any]]], rounds: int) -> list[dict[str, Any]]:
    """A row for each call, as many as there is time for."""
    start, chosen, skipped = time.monotonic(), {}, []
    for name, call in work:
        if time.monotonic() - start > SECONDS / 2:
            skipped.append({"": name, "ms": "no time left", "ratio": ""})
            continue
        jax.block_until_ready(call())
        chosen[name] = call
    figures = measure.interleaved(chosen, rounds, seconds=0.05)
    first = next(iter(figures.values()))
    rows = [
        {"": name, "ms": 1e3 * float(np.median(each)), "ratio": measure.ratio(each, first)[0]}
        for name, each in figures.items()
    ]
    return rows + skipped


def of_network(name: str, shape: tuple[int, ...], batch: int, rounds: int) -> list[dict[str, Any]]:
    params, loss = network(name, shape, batch)
    grad = jax.jit(jax.grad(loss))

    def work() -> Iterator[tuple[str, Callable[[], Any]]]:
        for method, make in METHODS.items():
            yield method, stepper(make(params), params, loss)
        yield "the gradient alone", lambda: grad(params)

    return compared(work(), rounds)


def of_many(size: int, leaves: int, rounds: int) -> list[dict[str, Any]]:
    """Updates of so many parameters, applied, in so many leaves."""
    shape = (size,) if leaves == 1 else (size // leaves // 1000, 1000)
    params = {f"leaf{i}": jnp.zeros(shape) for i in range(leaves)}
    names, memory = ("sgd", "rbd, countsketch", "error feedback", "strong"), {}

    def work() -> Iterator[tuple[str, Callable[[], Any]]]:
        for name in names:
            optimizer = METHODS[name](params)

            def step(held: Any, grads: Any, optimizer: Any = optimizer) -> Any:
                params, state = held
                updates, state = optimizer.update(grads, state, params)
                return (optax.apply_updates(params, updates), state), grads

            held = (jax.tree.map(jnp.array, params), optimizer.init(params))
            grads = jax.tree.map(jnp.ones_like, params)
            compiled = jax.jit(step).lower(held, grads).compile()
            analysis: Any = compiled.memory_analysis()
            memory[name] = analysis.temp_size_in_bytes / (4 * size)
            yield name, repeated(step, held, grads)

    rows = compared(work(), rounds)
    return [row | {"temporary / 4 D": memory.get(row[""], "")} for row in rows]


def of_generation(offspring: int, rounds: int) -> list[dict[str, Any]]:
    """A step of evolution strategies beside as many forward passes."""
    params, loss = network("fc", (28, 28, 1), 32)
    forward = jax.jit(loss)

    def passes() -> Any:
        return [forward(params) for _ in range(offspring)][-1]

    def work() -> Iterator[tuple[str, Callable[[], Any]]]:
        yield f"{offspring} forward passes", passes
        for basis in ("countsketch", "coordinate", "hadamard"):
            optimizer = nes(params, 0.01, dim=offspring, basis=basis)
            yield f"a generation, {basis}", stepper(optimizer, params, loss)

    return compared(work(), rounds)


def sections(quick: bool) -> Iterator[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    slow, rounds = jax.default_backend() == "cpu", 3 if quick else 9
    images, batch = (32, 32, 3), 2 if quick else 8 if slow else 128
    cases = [("fc", (28, 28, 1), 32), ("cnn", images, 32), ("cnn", images, 1024)]
    cases += [("resnet18", images, batch), ("vit", images, batch)]
    for name, shape, size in cases[:1] if quick else cases:
        title = f"Training steps: {name}, batch {size}"
        yield title, lambda n=name, s=shape, b=size: of_network(n, s, b, rounds)
    size = 10**6 if quick else 10**8
    for leaves in (1, 50):
        title = f"Updates of {size:.0e} parameters, leaves: {leaves}"
        yield title, lambda k=leaves: of_many(size, k, rounds)
    count = 10 if quick else 250
    yield "Evolution strategies: fc, batch 32", lambda: of_generation(count, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="also written there, table by table")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    text = f"# Steps on {measure.device()}\n"
    for title, rows_of in sections(options.quick):
        text += f"\n## {title}\n\n" + measure.table(rows_of())
        print(text.rpartition("\n## ")[2], flush=True)
        if options.out:
            options.out.write_text(text)


if __name__ == "__main__":
    main()
