"""What helps error feedback at d = 250: FC trained with one setting changed at a time.

    python benchmarks/feedback.py [--dataset fashion_mnist --data-dir DIR] [--epochs 6] [--json]

Loss and accuracy on held-out images, and the length of what is missed over that of a gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax
from jaxtyping import PyTree

from subspace import models, rbd
from subspace.data.augment import prepare
from subspace.data.dataset import load
from subspace.methods import METHODS
from subspace.methods.random import sgd
from subspace.optim.in_subspace import chain, subspace_state

BATCH = 32
Make = Callable[[PyTree, float], optax.GradientTransformationExtraArgs]


class Setting(NamedTuple):
    """One row: what is changed, and at which learning rates.

    Attributes:
        first: the optimizer of the first epoch, where it is another one.
        clip: the longest that the residual may be, in lengths of a gradient.
    """

    make: Make
    rates: Sequence[float]
    first: Make | None = None
    clip: float = float("inf")


def strong(**options: Any) -> Make:
    """The preset, changed by options of `subspace.rbd`."""
    settings = dict(METHODS["rbd"].presets["strong"]) | options
    return lambda params, rate: rbd(params, rate, **settings)


def momentum_inside(params: PyTree, rate: float) -> optax.GradientTransformationExtraArgs:
    """A trace of gradients is what the subspace follows, and misses in part."""
    return chain(optax.trace(0.9), strong()(params, rate))


SETTINGS: dict[str, Setting] = {
    "SGD": Setting(sgd, (2**-5, 2**-4, 2**-3)),
    "error feedback": Setting(strong(recent=0), (2**-6, 2**-5, 2**-4)),
    "strong": Setting(strong(), (2**-5, 2**-4, 2**-3)),
    "strong, momentum inside": Setting(momentum_inside, (2**-8, 2**-7, 2**-6)),
    "strong, momentum outside": Setting(strong(momentum=0.9), (2**-8, 2**-7, 2**-6)),
    "strong, d = 1,000 in the first epoch": Setting(strong(), (2**-4, 2**-3), strong(dim=1000)),
    "strong, residual up to 30 gradients": Setting(strong(), (2**-4, 2**-3), clip=30),
    "strong, residual up to 10 gradients": Setting(strong(), (2**-4, 2**-3), clip=10),
    "strong, a compartment a layer": Setting(
        strong(compartments="layer", allocate="split"), (2**-4, 2**-3)
    ),
}


def residual(opt_state: Any) -> Any:
    state = subspace_state(opt_state)
    return None if state is None else state.residual


def clipped(opt_state: Any, longest: Any) -> tuple[Any, Any]:
    """The state with no longer a residual than that, and the length it had."""
    missed = residual(opt_state)
    if missed is None:
        return opt_state, jnp.float32(0)
    length = optax.tree.norm(missed)
    scale = jnp.minimum(1.0, longest / length)
    shorter = jax.tree.map(lambda leaf: leaf * scale, missed)
    return eqx.tree_at(residual, opt_state, shorter), length


def train(data: Any, setting: Setting, rate: float, epochs: int, seed: int) -> dict[str, float]:
    """The row of one setting and learning rate."""
    model, state = models.build("fc", data.shape, data.outputs, key=jax.random.key(seed))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: PyTree, images: Any, labels: Any) -> tuple[Any, Any]:
        logits, _ = models.apply(eqx.combine(params, static), state, prepare(images))
        entropies = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return entropies.mean(), (logits.argmax(-1) == labels).mean()

    def epoch_of(optimizer: optax.GradientTransformationExtraArgs) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, opt_state = carry
            batch = train_images[rows], train_labels[rows]
            (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, *batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            length = optax.tree.norm(grads)
            opt_state, missed = clipped(opt_state, setting.clip * length)
            return (optax.apply_updates(params, updates), opt_state), (value, missed / length)

        return jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows))

    train_images, train_labels = map(jnp.asarray, data.train)
    optimizer = (setting.first or setting.make)(params, rate)
    run, opt_state, figures = epoch_of(optimizer), optimizer.init(params), None
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        if epoch == 1 and setting.first is not None:
            optimizer = setting.make(params, rate)
            opt_state = eqx.tree_at(residual, optimizer.init(params), residual(opt_state))
            run = epoch_of(optimizer)
        rows = order.permutation(len(train_labels))
        rows = rows[: len(rows) // BATCH * BATCH].reshape(-1, BATCH)
        (params, opt_state), figures = run((params, opt_state), rows)
    assert figures is not None
    _, accuracy = jax.jit(loss)(params, *data.validation)
    losses, missed = (np.asarray(figure) for figure in figures)
    return {
        "training loss": float(losses.mean()),
        "validation, %": 100 * float(accuracy),
        "residual / gradient": float(np.median(missed)),
    }


def main() -> None:
    parser = measure.settings_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    rows = []
    for name in measure.chosen(options.only, SETTINGS):
        for rate in SETTINGS[name].rates:
            found = train(data, SETTINGS[name], rate, options.epochs, options.seed)
            rows.append({"": name, "learning rate": rate, **found})
            print(rows[-1], file=sys.stderr)
    measure.show("Error feedback on FC", rows, options.json)


if __name__ == "__main__":
    main()
