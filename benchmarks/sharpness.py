"""How sharply the loss curves within d directions of each basis, at a run's last weights.

    python benchmarks/sharpness.py RUN [--dim 250] [--draws 5] [--images 500] [--bases normal]

The largest eigenvalue λ of PᵀHP, H the Hessian of the loss over some training images, in several
draws of P. A step with a learning rate above 2/λ grows along its eigenvector instead of falling.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax
from jaxtyping import PyTree

from subspace import models
from subspace.data.augment import prepare
from subspace.run import Saved, saved
from subspace.spaces.random import RandomSubspace
from subspace.store.folder import RunFolder

BASES = ("hadamard", "rademacher", "coordinate", "bernoulli_paper")


def curvature(run: Saved, images: int) -> jax.tree_util.Partial:
    """The product of the Hessian at the run's weights with a tangent."""
    data, key = run.trainer.dataset, jax.random.key(0)
    pictures, labels = (jnp.asarray(part[:images]) for part in data.train)
    model, _ = models.build(run.trainer.config.model, data.shape, data.outputs, key=key)
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)

    def loss(params: PyTree) -> Any:
        model = eqx.combine(params, static)
        logits, _ = models.apply(model, run.weights.model_state, prepare(pictures))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def product(params: PyTree, tangent: PyTree) -> PyTree:
        return jax.jvp(jax.grad(loss), (params,), (tangent,))[1]

    return jax.tree_util.Partial(jax.jit(product), run.weights.params)


@jax.jit
def column(space: RandomSubspace, hessian: jax.tree_util.Partial, unit: jax.Array) -> jax.Array:
    """One of PᵀHP."""
    return space.project(hessian(space.lift({"whole": unit})))["whole"]


def sharpest(space: RandomSubspace, hessian: jax.tree_util.Partial) -> float:
    """The largest eigenvalue of PᵀHP, column by column: convolutions are slow in XLA's loops."""
    units = jnp.eye(space.dimensions, dtype=jnp.float32)
    matrix = np.stack([column(space, hessian, unit) for unit in units])
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1])


def sharpest_of_all(params: PyTree, hessian: jax.tree_util.Partial) -> float:
    """The largest eigenvalue of H, by 50 power iterations."""
    along = optax.tree.random_like(jax.random.key(0), params, jax.random.normal)
    length = optax.tree.norm(along)
    for _ in range(50):
        along = hessian(jax.tree.map(lambda leaf, by=length: leaf / by, along))
        length = optax.tree.norm(along)
    return float(length)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--bases", nargs="*", default=BASES)
    parser.add_argument("--dim", type=int, default=250)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    run = saved(RunFolder(options.run), options.data_dir)
    params, hessian = run.weights.params, curvature(run, options.images)
    table = []
    for basis in options.bases:
        space = RandomSubspace(params, dim=options.dim, basis=basis)
        found = []
        for _ in range(options.draws):
            found.append(sharpest(space, hessian))
            space = eqx.tree_at(lambda space: space.step, space, space.step + 1)
        line = {"basis": basis, "median λ": statistics.median(found), "largest": max(found)}
        table.append(line | {"2/λ, smallest": 2 / max(found)})
    whole = sharpest_of_all(params, hessian)
    table.append(dict(zip(table[0], ("all of D", whole, "", 2 / whole), strict=True)))
    title = f"Sharpest of {options.dim} directions in {options.draws} draws"
    measure.show(title, table, options.json)


if __name__ == "__main__":
    main()
