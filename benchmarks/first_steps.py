"""Training loss of the first steps along natural gradients, by damping, refresh and memory.

    python benchmarks/first_steps.py [--dataset fashion_mnist --data-dir DIR --model cnn]
        [--steps 120] [--batch-size 128] [--only "SGD;K-FAC"] [--json]

The mean over the last third of the steps, with momentum 0.9; "diverged" where it isn't finite.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import jax
import measure
import numpy as np
from plain import Training

from subspace import models
from subspace.config.phase import Phase
from subspace.data.dataset import load

KID = {"method": "hylo", "selection": "kid", "learning_rate": 2**-6, "refresh": 1}
LESS = {"damping": 0.1, "learning_rate": 2**-7}
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd", "learning_rate": 2**-4},
    "K-FAC": {"method": "kfac", "damping": 0.03, "learning_rate": 2**-8, "refresh": 10},
    "SNGD": {"method": "sngd", "refresh": 1} | LESS,
    "KID, every 10": KID | {"refresh": 10},
    "KID, every 10, memory 20": KID | {"refresh": 10, "memory": 20},
    "KID": KID,
    "KID, memory 20": KID | {"memory": 20},
    "KID, less damping": KID | LESS,
    "KID, less damping, memory 20": KID | LESS | {"memory": 20},
}
"""The fields of `subspace.config.phase.Phase`, as ``subspace run`` takes them."""


def train(data: Any, name: str, phase: Phase, steps: int, seed: int) -> float:
    """The mean loss of the last third of the steps."""
    network = models.build(name, data.shape, data.outputs, key=jax.random.key(seed))
    training = Training(network, phase, steps=steps, seed=seed)
    order, values = np.random.default_rng(seed), []
    images, labels = map(np.asarray, data.train)
    for _ in range(steps):
        rows = order.choice(len(labels), phase.batch_size, replace=False)
        values.append(training.step(images[rows], labels[rows]))
    return float(np.mean(values[-max(1, steps // 3) :]))


def main() -> None:
    parser = measure.settings_parser(__doc__)
    parser.add_argument("--model", default="fc")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    table = []
    for name in measure.chosen(options.only, SETTINGS):
        given = SETTINGS[name] | {"momentum": 0.9, "batch_size": options.batch_size}
        phase = Phase.resolve(given, model=options.model, dataset=options.dataset, start="first")
        found = train(data, options.model, phase, options.steps, options.seed)
        line = {
            "": name,
            "damping": phase.values.get("damping", ""),
            "learning rate": phase.learning_rate,
            "refreshed every": phase.values.get("refresh", ""),
            "loss": found if math.isfinite(found) else "diverged",
        }
        table.append(line)
        print(line, file=sys.stderr)
    measure.show("Natural gradients' first steps", table, options.json)


if __name__ == "__main__":
    main()
