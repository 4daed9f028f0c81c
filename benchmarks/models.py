"""Every network's size and times at batch 32, beside PyTorch's where it is installed.

    python benchmarks/models.py [--json] [--repeats 7] [--only resnet20,mobilenet]

Training mode, 32×32×3 images, 100 classes. "forward" is a loss, "gradient" a loss and its
gradient; medians over rounds in which ours and PyTorch's take turns. Each uses all cores.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax

from subspace import models

sys.path.append(str(Path(__file__).parents[1] / "tests"))

BATCH, CLASSES, SHAPE = 32, 100, (32, 32, 3)


def ours(name: str) -> tuple[dict[str, Callable[[], Any]], float]:
    """What to time, and the seconds that compiling took."""
    model, state = models.build(name, SHAPE, CLASSES, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    images = jax.random.normal(jax.random.key(1), (BATCH, *SHAPE))
    labels = jnp.arange(BATCH)

    def loss(params: Any, state: Any) -> Any:
        logits, new = models.apply(eqx.combine(params, static), state, images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), new

    start = time.perf_counter()
    forward = jax.jit(loss).lower(params, state).compile()
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(params, state).compile()
    seconds = time.perf_counter() - start
    return {
        "forward": lambda: forward(params, state),
        "gradient": lambda: gradient(params, state),
    }, seconds


def theirs(name: str) -> dict[str, Callable[[], Any]]:
    """PyTorch's, if there is one."""
    try:
        import torch
        import torch_networks
    except ImportError:
        return {}
    if name not in torch_networks.NETWORKS:
        return {}
    network = torch_networks.NETWORKS[name](CLASSES).train()
    images = np.asarray(jax.random.normal(jax.random.key(1), (BATCH, *SHAPE)))
    inputs = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    labels = torch.arange(BATCH)

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(network(inputs), labels)

    def forward() -> None:
        with torch.no_grad():
            loss()

    def gradient() -> None:
        network.zero_grad()
        loss().backward()

    return {"forward, PyTorch": forward, "gradient, PyTorch": gradient}


def row(name: str, repeats: int) -> dict[str, Any]:
    work, seconds = ours(name)
    figures = measure.interleaved(work | theirs(name), repeats)
    found: dict[str, Any] = {"model": name, "D": models.size(name, SHAPE, CLASSES)}
    for part in work:
        found[f"{part}, ms"] = statistics.median(figures[part]) * 1e3
        other = figures.get(f"{part}, PyTorch")
        found[f"{part}, over PyTorch"] = measure.ratio(figures[part], other)[0] if other else ""
    return found | {"compilation, s": seconds}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=7)
    parser.add_argument("--only", help="names, with commas between them")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(models.MODELS)
    rows = []
    for name in names:
        rows.append(row(name, options.repeats))
        print(name, file=sys.stderr)
    measure.show("Models at batch 32", rows, options.json)


if __name__ == "__main__":
    main()
