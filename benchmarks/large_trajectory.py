"""Peak memory and time of principal components that are larger than one likes to hold.

    python benchmarks/large_trajectory.py [--json] [--parameters 28518244] [--samples 41] [--dim 40]

Samples are random walks on disk, in float16 as `--half-samples` keeps them; D is VGG11-BN's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np

from subspace.spaces.trajectory import TrajectorySubspace
from subspace.store.samples import Samples


def written(folder: Path, samples: int, size: int) -> Samples:
    """A random walk on disk."""
    taken, draws = Samples(folder / "t.f16", size, 0, 1), np.random.default_rng(0)
    here = 0.05 * draws.standard_normal(size, np.float32)
    for _ in range(samples):
        taken.append(here)
        here += 0.005 * draws.standard_normal(size, np.float32)
    return taken


def measured(samples: int, size: int, dim: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        taken = written(Path(folder), samples, size)
        before = measure.own_peak_memory()
        params = {"all": jax.ShapeDtypeStruct((size,), jnp.float32)}
        space, seconds = measure.timed(lambda: TrajectorySubspace.fit(taken.rows(), dim, params))
        after = measure.own_peak_memory()
        vector = {"all": jnp.asarray(np.random.default_rng(1).standard_normal(size, np.float32))}
        coords, lifted = jax.jit(space.__class__.filter)(space, vector)
        jax.block_until_ready(lifted)
        again = space.project(lifted)["trajectory"]
        error = jnp.linalg.norm(again - coords["trajectory"]) / jnp.linalg.norm(again)
        return {
            "D": size,
            "samples": samples,
            "d": dim,
            "on disk, MB": taken.file.stat().st_size / 1e6,
            "peak before, MB": before,
            "peak of the extraction, MB": after,
            "extraction, s": seconds,
            "peak with a projection, MB": measure.own_peak_memory(),
            "P Pᵀ P Pᵀ against P Pᵀ": float(error),
        }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--parameters", type=int, default=28_518_244)
    parser.add_argument("--samples", type=int, default=41)
    parser.add_argument("--dim", type=int, default=40)
    options = parser.parse_args()
    row = measured(options.samples, options.parameters, options.dim)
    measure.show("Principal components of a large trajectory", [row], options.json)


if __name__ == "__main__":
    main()
