"""Accuracy against seconds where layers are wide: SGD, HyLo and K-FAC, a few steps each in turn.

    python benchmarks/wide_layers.py [--dataset fashion_mnist --data-dir DIR] [--width 1024]
        [--seconds 60] [--every 25] [--reach 80 85] [--seed 0] [--only "SGD;HyLo"] [--json]

A network of two hidden layers. Seconds are those of steps: compilation and tests are apart.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
from plain import Training

from subspace.config.phase import Phase
from subspace.data.dataset import load
from subspace.models.layers import Dense

BATCH = 128
TESTED = 2000  # images
HYLO = {"method": "hylo", "damping": 0.3, "learning_rate": 2**-6, "refresh": 10}
KFAC = {"method": "kfac", "damping": 0.03, "learning_rate": 2**-7, "refresh": 10}
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd", "learning_rate": 2**-4},
    "HyLo": HYLO,
    "HyLo, memory 20": HYLO | {"memory": 20},
    "K-FAC": KFAC,
    "K-FAC, every 100": KFAC | {"refresh": 100},
}
"""The fields of `subspace.config.phase.Phase`, as ``subspace run`` takes them."""


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
    """Of one method after each turn: steps and seconds so far, validation accuracy in %."""

    steps: list[int]
    seconds: list[float]
    accuracy: list[float]


def batches(examples: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of one batch after another, every epoch shuffled anew."""
    for epoch in itertools.count():
        order = np.random.default_rng((seed, epoch)).permutation(examples)
        yield from order[: examples // BATCH * BATCH].reshape(-1, BATCH)


def compare(data: Any, phases: dict[str, Phase], options: Any) -> dict[str, Curve]:
    """Trains each for so many seconds, all from one initialisation along the same batches."""
    images, labels = map(np.asarray, data.train)
    validation = tuple(jnp.asarray(part[:TESTED]) for part in data.validation)
    curves, trainings, orders = {}, {}, {}
    for name, phase in phases.items():
        key = jax.random.key(options.seed)
        model = Wide(math.prod(data.shape), options.width, data.outputs, key=key)
        training = Training((model, None), phase, steps=2**20, seed=options.seed)
        training.compile(images[:BATCH], labels[:BATCH])
        before = 100 * training.accuracy(*validation)
        curves[name], trainings[name] = Curve([0], [0.0], [before]), training
        orders[name] = batches(len(labels), options.seed)
    while waiting := [name for name in curves if curves[name].seconds[-1] < options.seconds]:
        for name in waiting:
            training, curve = trainings[name], curves[name]
            rows = list(itertools.islice(orders[name], options.every))
            start = time.perf_counter()
            jax.block_until_ready([training.step(images[batch], labels[batch]) for batch in rows])
            curve.seconds.append(curve.seconds[-1] + time.perf_counter() - start)
            curve.steps.append(curve.steps[-1] + len(rows))
            curve.accuracy.append(100 * training.accuracy(*validation))
    return curves


def row(name: str, curve: Curve, reach: list[float]) -> dict[str, Any]:
    """Its line of the table."""
    line: dict[str, Any] = {
        "": name,
        "learning rate": SETTINGS[name]["learning_rate"],
        "ms a step": 1e3 * curve.seconds[-1] / curve.steps[-1],
    }
    for goal in reach:
        above = np.flatnonzero(np.asarray(curve.accuracy) >= goal)
        line[f"steps to {goal:g}%"] = curve.steps[above[0]] if len(above) else ""
        line[f"seconds to {goal:g}%"] = curve.seconds[above[0]] if len(above) else ""
    return line | {"last turns' accuracy, %": statistics.mean(curve.accuracy[-3:])}


def main() -> None:
    parser = measure.settings_parser(__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=int, default=25, help="steps from test to test")
    parser.add_argument("--reach", type=float, nargs="*", default=[80, 85], help="percent")
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    phases = {}
    for name in measure.chosen(options.only, SETTINGS):
        given = SETTINGS[name] | {"momentum": 0.9, "batch_size": BATCH}
        phases[name] = Phase.resolve(given, model="fc", dataset=options.dataset, start="first")
    curves = compare(data, phases, options)
    table = [row(name, curve, options.reach) for name, curve in curves.items()]
    measure.show(f"Two hidden layers of {options.width} units", table, options.json)


if __name__ == "__main__":
    main()
