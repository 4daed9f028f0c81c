"""DLDR's subspace extraction over scikit-learn's exact PCA: t = 81, D = 467,194, d = 40.

    python benchmarks/trajectory_pca.py [--json] [--repeats 5]

Time: the two take turns; medians. Memory: what each adds to a process of its own that holds the
samples, over the samples' own size.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import jax
import measure
import numpy as np

COUNT, SIZE, DIM = 81, 467_194, 40


def samples() -> np.ndarray:
    """A random walk whose steps shrink, as training's do."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal((COUNT, SIZE), np.float32)
    array *= np.geomspace(1, 0.05, COUNT, dtype=np.float32)[:, None]
    return np.cumsum(array, axis=0, out=array)


def ours(array: np.ndarray) -> Any:
    from subspace import TrajectorySubspace

    params = jax.ShapeDtypeStruct((SIZE,), np.float32)
    return TrajectorySubspace.fit(array, DIM, params).rows


def sklearns(array: np.ndarray) -> Any:
    from sklearn.decomposition import PCA

    return PCA(DIM, svd_solver="full").fit(array).components_


WAYS: dict[str, Callable[[np.ndarray], Any]] = {"subspace": ours, "scikit-learn": sklearns}


def added_memory(name: str) -> float:
    """What extraction adds to the peak, over the samples' size; run in a process of its own."""
    array = samples()
    import_module("sklearn.decomposition" if name == "scikit-learn" else "subspace")
    jax.block_until_ready(jax.numpy.zeros(1))
    before = measure.own_peak_memory()
    WAYS[name](array)
    return (measure.own_peak_memory() - before) * 1e6 / array.nbytes


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.add_argument("--memory-of", choices=WAYS, help="print what this one adds, alone")
    options = arguments.parse_args()
    if options.memory_of:
        print(added_memory(options.memory_of))
        return
    array = samples()
    work = {name: lambda way=way: way(array) for name, way in WAYS.items()}
    figures = measure.interleaved(work, options.repeats)
    rows = []
    for name in WAYS:
        median, low, high = measure.ratio(figures[name], figures["scikit-learn"])
        rows.append(
            {
                "way": name,
                "s": sorted(figures[name])[options.repeats // 2],
                "over scikit-learn": median,
                "lowest": low,
                "highest": high,
                "added memory / samples": measure.peak_memory_of(["--memory-of", name]),
            }
        )
    measure.show("Principal directions of 81 samples of 467,194 parameters", rows, options.json)


if __name__ == "__main__":
    main()
