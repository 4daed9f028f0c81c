"""Training loss of the first steps along natural gradients, by damping, renewal and memory.

    python benchmarks/first_steps.py [--dataset fashion_mnist --data-dir DIR --model cnn]
        [--steps 120] [--batch-size 128] [--only "SGD;K-FAC"] [--json]

The mean over the last third of the steps, with momentum 0.9; "diverged" where it isn't finite.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import equinox as eqx
import jax
import measure
import numpy as np
import optax
from jaxtyping import PyTree

from subspace import models
from subspace.augment import prepare
from subspace.capture import capture
from subspace.data import load
from subspace.phase import Phase

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
"""The fields of `subspace.phase.Phase`, as ``subspace run`` takes them."""


def train(data: Any, name: str, phase: Phase, steps: int, seed: int) -> float:
    """The mean loss of the last third of the steps."""
    model, state = models.build(name, data.shape, data.classes, key=jax.random.key(seed))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    optimizer = phase.optimizer(params, steps=steps, seed=seed)

    def loss(model: PyTree, images: Any, labels: Any) -> Any:
        logits, _ = models.apply(model, state, prepare(images))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def of_one(model: PyTree, example: Any) -> Any:
        return loss(model, *(part[None] for part in example))

    @partial(jax.jit, static_argnames="due", donate_argnums=(0, 1))
    def step(params: PyTree, opt_state: Any, batch: Any, due: bool | None) -> Any:
        value, grads = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), *batch))(params)

        def rows_fn(params: PyTree) -> Any:
            return capture(eqx.combine(params, static), of_one, batch)

        updates, opt_state = optimizer.update(grads, opt_state, params, rows_fn=rows_fn, due=due)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, order, values = optimizer.init(params), np.random.default_rng(seed), []
    images, labels = map(np.asarray, data.train)
    for count in range(steps):
        rows = order.choice(len(labels), phase.batch_size, replace=False)
        batch = images[rows], labels[rows]
        due = phase.refresh and count % phase.refresh == 0
        params, opt_state, value = step(params, opt_state, batch, due=due)
        values.append(value)
    return float(np.mean(values[-max(1, steps // 3) :]))


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--model", default="fc")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="settings, with semicolons between them")
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    table = []
    for name in options.only.split(";") if options.only else SETTINGS:
        given = SETTINGS[name] | {"momentum": 0.9, "batch_size": options.batch_size}
        phase = Phase.resolve(given, model=options.model, dataset=options.dataset, start="first")
        found = train(data, options.model, phase, options.steps, options.seed)
        line = {
            "": name,
            "damping": phase.damping or "",
            "learning rate": phase.learning_rate,
            "renewed every": phase.refresh or "",
            "loss": found if math.isfinite(found) else "diverged",
        }
        table.append(line)
        print(line, file=sys.stderr)
    measure.show("Natural gradients' first steps", table, options.json)


if __name__ == "__main__":
    main()
