"""The workers of a run: devices of one or many processes, on one mesh axis."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from subspace.errors import InvalidInput
from subspace.optim.workers import PerWorker

AXIS = "data"
"""The mesh axis, along which batches are divided."""

INNER = "worker"
"""The `vmap` axis of the workers of one device, where it has several."""


def data_mesh(workers: int | None = None) -> Mesh:
    """Devices on the axis ``"data"``.

    Args:
        workers: how many the run has; None for one on each device.

    Returns:
        All devices, or as many as divide the workers evenly.

    Raises:
        InvalidInput: the workers can't be divided among the devices of several processes.
    """
    devices = jax.devices()
    if workers is not None:
        count = max(n for n in range(1, len(devices) + 1) if workers % n == 0)
        if count < len(devices) and jax.process_count() > 1:
            raise InvalidInput(
                "workers",
                f"{workers} can't be divided among {len(devices)} devices; use a multiple of that, "
                "or fewer processes or devices",
            )
        devices = devices[:count]
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def placement(tree: PyTree) -> PyTree:
    """A `PartitionSpec` for each array: each worker's own are divided, others everywhere."""
    return map_per_worker(lambda _: P(AXIS), tree, others=lambda _: P())


def put(mesh: Mesh, arrays: PyTree, specs: PyTree) -> PyTree:
    """Arrays that every process holds whole, placed as the specs say."""

    def place(array: Any, spec: P) -> jax.Array:
        sharding = NamedSharding(mesh, spec)
        if jax.process_count() == 1:
            return jax.device_put(array, sharding)
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, arrays, specs)


def for_workers(tree: PyTree, workers: int) -> PyTree:
    """Each worker's own for so many: those that there are, or each a copy of their mean."""

    def spread(leaf: Any) -> Any:
        if leaf.shape[0] == workers:
            return leaf
        mean = np.mean(np.asarray(leaf), axis=0, keepdims=True).astype(leaf.dtype)
        return np.broadcast_to(mean, (workers, *leaf.shape[1:]))

    return map_per_worker(spread, tree, others=lambda leaf: leaf)


def map_per_worker(f: Any, tree: PyTree, others: Any) -> PyTree:
    """``f`` of the arrays of every `PerWorker`, ``others`` of all other arrays."""

    def is_per_worker(node: Any) -> bool:
        return isinstance(node, PerWorker)

    def change(node: Any) -> Any:
        return jax.tree.map(f if is_per_worker(node) else others, node)

    return jax.tree.map(change, tree, is_leaf=is_per_worker)
