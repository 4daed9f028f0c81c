"""Accuracy against seconds where layers are wide: SGD, HyLo and K-FAC, an epoch each in turn.

    python benchmarks/wide_layers.py [--dataset fashion_mnist --data-dir DIR] [--width 1024]
        [--epochs 5] [--reach 88] [--seed 0] [--only "SGD;HyLo"] [--powers -4 -5] [--json]

A network of two hidden layers. Seconds are those of steps: compilation and tests are apart.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
from plain import Training, batches

from subspace.data import load
from subspace.models.layers import Dense
from subspace.phase import Phase

BATCH = 128
HYLO = {"method": "hylo", "damping": 0.3, "learning_rate": 2**-6, "refresh": 10}
KFAC = {"method": "kfac", "damping": 0.03, "learning_rate": 2**-8, "refresh": 10}
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd", "learning_rate": 2**-4},
    "HyLo": HYLO,
    "HyLo, memory 20": HYLO | {"memory": 20},
    "K-FAC": KFAC,
    "K-FAC, every 100": KFAC | {"refresh": 100},
}
"""The fields of `subspace.phase.Phase`, as ``subspace run`` takes them."""


class Wide(eqx.Module):
    """Two hidden layers of ``width`` rectified units."""

    layers: tuple[Dense, Dense, Dense]

    def __init__(self, inputs: int, width: int, classes: int, *, key: Any):
        sizes = (inputs, width, width, classes)
        pairs = zip(sizes[:-1], sizes[1:], jax.random.split(key, 3), strict=True)
        self.layers = tuple(Dense(a, b, key=key) for a, b, key in pairs)  # type: ignore

    def __call__(self, x: Any) -> Any:
        first, second, last = self.layers
        return last(jax.nn.relu(second(jax.nn.relu(first(x.reshape(-1))))))


class Curve(NamedTuple):
    """Of one method after each epoch: mean loss, validation accuracy in %, seconds of steps."""

    loss: list[float]
    accuracy: list[float]
    seconds: list[float]


def compare(
    data: Any, width: int, phases: dict[Any, Phase], epochs: int, seed: int
) -> dict[Any, Curve]:
    """Trains each for an epoch in turn, all with the same initialisation and batches."""
    images, labels = map(np.asarray, data.train)
    validation = tuple(map(jnp.asarray, data.validation))
    orders = [np.random.default_rng((seed, epoch)) for epoch in range(epochs)]
    rows = [batches(len(labels), BATCH, order) for order in orders]
    curves, trainings = {}, {}
    for name, phase in phases.items():
        model = Wide(math.prod(data.shape), width, data.classes, key=jax.random.key(seed))
        training = Training((model, None), phase, steps=epochs * len(rows[0]), seed=seed)
        training.compile(images[:BATCH], labels[:BATCH])
        curves[name], trainings[name] = Curve([], [], []), training
    for epoch in rows:
        for name, training in trainings.items():
            start = time.perf_counter()
            losses = [training.step(images[batch], labels[batch]) for batch in epoch]
            jax.block_until_ready(losses)
            seconds = time.perf_counter() - start
            curves[name].loss.append(float(np.mean(losses)))
            curves[name].accuracy.append(100 * training.accuracy(*validation))
            curves[name].seconds.append(seconds)
    return curves


def row(name: str, rate: float, curve: Curve, reach: float) -> dict[str, Any]:
    """Its line of the table."""
    above = np.flatnonzero(np.asarray(curve.accuracy) >= reach)
    first = above[0] + 1 if len(above) else None
    return {
        "": name,
        "learning rate": rate,
        "validation, %": " / ".join(f"{a:.1f}" for a in curve.accuracy),
        "loss": curve.loss[-1] if math.isfinite(curve.loss[-1]) else "diverged",
        "seconds an epoch": statistics.median(curve.seconds),
        f"epochs to {reach:g}%": first or "",
        f"seconds to {reach:g}%": sum(curve.seconds[:first]) if first else "",
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--reach", type=float, default=88.0, help="validation accuracy in percent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="settings, with semicolons between them")
    parser.add_argument("--powers", type=int, nargs="*", help="of 2: learning rates, for each")
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    phases = {}
    for name in options.only.split(";") if options.only else SETTINGS:
        for power in options.powers or [math.log2(SETTINGS[name]["learning_rate"])]:
            given = {"momentum": 0.9, "batch_size": BATCH, "learning_rate": 2.0**power}
            phases[name, power] = Phase.resolve(
                SETTINGS[name] | given, model="fc", dataset=options.dataset, start="first"
            )
    curves = compare(data, options.width, phases, options.epochs, options.seed)
    table = [row(name, 2.0**power, curve, options.reach) for (name, power), curve in curves.items()]
    measure.show(f"Two hidden layers of {options.width} units", table, options.json)


if __name__ == "__main__":
    main()
