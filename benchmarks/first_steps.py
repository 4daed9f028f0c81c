"""Training loss of the first steps along natural gradients, by damping, renewal and memory.

    python benchmarks/first_steps.py [--dataset fashion_mnist --data-dir DIR --model cnn]
        [--steps 120] [--batch-size 128] [--only "SGD;K-FAC"] [--json]

The mean over the last third of the steps, with momentum 0.9; "diverged" where it isn't finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
from subspace.hylo import hylo, kfac, sngd

MOMENTUM = 0.9


class Setting(NamedTuple):
    """One row; ``make`` takes parameters and the other fields by name."""

    make: Callable[..., optax.GradientTransformationExtraArgs]
    rate: float
    refresh: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


KID = {"selection": "kid", "memory": 1}
KID_20 = KID | {"memory": 20}
SETTINGS = {
    "SGD": Setting(lambda params, rate, **_: optax.sgd(rate, MOMENTUM), 2**-4),
    "K-FAC": Setting(kfac, 2**-8, 10, {"damping": 0.03}),
    "SNGD": Setting(sngd, 2**-7, 1, {"damping": 0.1}),
    "KID, every 10": Setting(hylo, 2**-6, 10, KID),
    "KID, every 10, memory 20": Setting(hylo, 2**-6, 10, KID_20),
    "KID": Setting(hylo, 2**-6, 1, KID),
    "KID, memory 20": Setting(hylo, 2**-6, 1, KID_20),
    "KID, less damping": Setting(hylo, 2**-7, 1, KID | {"damping": 0.1}),
    "KID, less damping, memory 20": Setting(hylo, 2**-7, 1, KID_20 | {"damping": 0.1}),
}


def optimizer_of(
    setting: Setting, params: PyTree, batch_size: int, steps: int
) -> optax.GradientTransformationExtraArgs:
    options = {"refresh": setting.refresh, "momentum": MOMENTUM, **setting.options}
    if setting.make in (hylo, sngd):
        options["batch_size"] = batch_size
    if setting.make is hylo:
        options["steps"] = steps
    return optax.with_extra_args_support(setting.make(params, setting.rate, **options))


def train(data: Any, name: str, setting: Setting, batch_size: int, steps: int, seed: int) -> float:
    """The mean loss of the last third of the steps."""
    model, state = models.build(name, data.shape, data.classes, key=jax.random.key(seed))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optimizer_of(setting, params, batch_size, steps)

    def loss(model: PyTree, images: Any, labels: Any) -> Any:
        logits, _ = models.apply(model, state, prepare(images))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def of_one(model: PyTree, example: Any) -> Any:
        return loss(model, *(part[None] for part in example))

    @partial(jax.jit, static_argnames="due", donate_argnums=(0, 1))
    def step(params: PyTree, opt_state: Any, batch: Any, due: bool) -> Any:
        value, grads = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), *batch))(params)

        def rows_fn(params: PyTree) -> Any:
            return capture(eqx.combine(params, static), of_one, batch)

        updates, opt_state = optimizer.update(grads, opt_state, params, rows_fn=rows_fn, due=due)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, order, values = optimizer.init(params), np.random.default_rng(seed), []
    images, labels = map(np.asarray, data.train)
    for count in range(steps):
        rows = order.choice(len(labels), batch_size, replace=False)
        batch = images[rows], labels[rows]
        params, opt_state, value = step(params, opt_state, batch, due=count % setting.refresh == 0)
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
        setting = SETTINGS[name]
        found = train(data, options.model, setting, options.batch_size, options.steps, options.seed)
        line = {
            "": name,
            "damping": setting.options.get("damping", "" if name == "SGD" else 0.3),
            "learning rate": setting.rate,
            "renewed every": "" if name == "SGD" else setting.refresh,
            "loss": found if math.isfinite(found) else "diverged",
        }
        table.append(line)
        print(line, file=sys.stderr)
    measure.show("Natural gradients' first steps", table, options.json)


if __name__ == "__main__":
    main()
