"""A run in a subspace as a small file: seeds and coordinates, to be applied to the same base.

With a subspace that never changes (FPD) that is d numbers, ``θ = θ₀ + P c``. With one that is
redrawn (RBD) it is the coordinates of every step, which `--log-coordinates` kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from subspace.config.phase import fields_of_phase
from subspace.config.run import SHARED, RunConfig
from subspace.data.dataset import Dataset, Split
from subspace.errors import InvalidInput, lookup
from subspace.methods import METHODS
from subspace.optim.in_subspace import subspace_state
from subspace.run.execute import opened
from subspace.run.replay import at_its_start, logged_coordinates, parameters
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.random import RandomSubspace
from subspace.store import proof, weights_file
from subspace.store.circumstances import check_same, circumstances
from subspace.store.folder import RunFolder
from subspace.store.source import starting_weights, weights_at
from subspace.store.weights import TakenOver, Weights
from subspace.train.trainer import Trainer

_STEPS = "steps."
_COORDINATES = "coordinates."
_LEFT = 1e-3  # of the way that a run went, outside of its subspace


def export(
    folder: RunFolder,
    out: Path,
    *,
    whole: bool = False,
    step: int | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Writes a run's newest weights to a file.

    Args:
        folder: of the run.
        out: a new ``.safetensors`` file.
        whole: all D numbers, which ``--init-from`` takes, instead of seeds and coordinates.
        step: of another checkpoint than the newest.
        data_dir: where the dataset is now; by default where it was.

    Returns:
        ``out``, ``bytes``, ``numbers`` in it that describe parameters, and D, ``parameters``.

    Raises:
        InvalidInput: no run, a file that can't be made, or a run whose parameters don't follow
            from seeds and coordinates.
    """
    weights_file.check_free(out)
    folder.check_checkpoints("run")
    trainer = opened(folder, data_dir) if whole else at_its_start(folder, data_dir)
    weights, meta = weights_at(folder, trainer.weights, "run", step)
    if whole:
        arrays, described = weights_file.arrays_of(weights), trainer.parameters
        about: dict[str, Any] = {"model": trainer.config.model}
    else:
        check_same(folder.made_with("run"), "run")
        found = _described(trainer, folder, weights, int(meta["step"]))
        described = sum(array.size for array in found.values())
        state = weights_file.arrays_of(Weights({}, weights.model_state))
        arrays = found | state
        # what `apply` makes of it here, which rounds otherwise than the run
        made = weights_file.arrays_of(Weights(_applied(trainer, arrays), weights.model_state))
        about = _about(trainer) | {"makes": proof.of(made)}
    weights_file.write(out, arrays, about)
    size = out.stat().st_size
    return {
        "out": str(out),
        "bytes": size,
        "numbers": described,
        "parameters": trainer.parameters,
    }


def apply(file: Path, out: Path, base: Path | None = None) -> dict[str, Any]:
    """Rebuilds the weights that a file of seeds and coordinates describes.

    Args:
        file: from `export`.
        out: a new ``.safetensors`` file for all D numbers.
        base: the run or file that the run began with; by default what its seed initialises.

    Returns:
        ``out``, D, ``parameters``, and ``exact``, whether all bits are those that `export` had
        where it ran; on another device or version of JAX the last ones may differ.

    Raises:
        InvalidInput: the file is damaged, the base is another one, or the weights that come out
            aren't those that were exported.
    """
    weights_file.check_free(out)
    arrays, about = weights_file.read(file, "file")
    config, dataset = _task(about, file)
    check_same(about["made_with"], "file")
    start = base or (Path(config.init_from) if config.init_from else None)
    plain = replace(config, source=None, init_from=None)

    def begin(fresh: Weights) -> TakenOver | None:
        return None if start is None else TakenOver(starting_weights(start, fresh, "base"), None)

    trainer = Trainer(plain, dataset, begin)
    if _digest(trainer.weights.params) != about["base"]:
        what = "what the seed initialises" if start is None else str(start)
        raise InvalidInput("base", f"{what} isn't what the run began with; give that, --base")
    try:
        params = _applied(trainer, arrays)
    except (KeyError, ValueError, TypeError):
        raise InvalidInput("file", f"{file} lacks coordinates; export the run again") from None
    state = {name: array for name, array in arrays.items() if name.startswith("state.")}
    whole = weights_file.arrays_of(Weights(params, trainer.weights.model_state)) | state
    exact = proof.check(whole, about["makes"], file)
    weights_file.write(out, whole, {"model": config.model})
    return {"out": str(out), "parameters": trainer.parameters, "exact": exact}


def _described(
    trainer: Trainer, folder: RunFolder, weights: Weights, step: int
) -> dict[str, np.ndarray]:
    """The coordinates, or those of every step, that make the weights."""
    space = _fixed_space(trainer)
    if space is None:
        logged = logged_coordinates(trainer, folder, stop=step)
        if sum(len(rows) for rows in logged) < step:
            raise InvalidInput("run", "its coordinates are cut short; use --whole")
        return {f"{_STEPS}{index}": rows for index, rows in enumerate(logged)}
    moved = jax.tree.map(jnp.subtract, weights.params, trainer.weights.params)
    coords, left = _coordinates(space, moved)
    if not left <= _LEFT:
        raise InvalidInput(
            "run",
            f"{left:.1%} of the way that it went lies outside of its subspace, as with weight "
            "decay; use --whole",
        )
    return {_COORDINATES + name: np.asarray(value) for name, value in coords.items()}


def _fixed_space(trainer: Trainer) -> AbstractSubspace | None:
    """The subspace of a run that stays in one; None if it is redrawn."""
    place, *others = trainer.phases
    params = trainer.weights.params
    optimizer = trainer.optimizer(place, params, trainer.exchange(place.phase))
    state = subspace_state(jax.eval_shape(optimizer.init, params))
    if state is None:
        raise InvalidInput("run", f"{place.phase.method.name} trains in no subspace; use --whole")
    space = state.space
    if others or not isinstance(space, RandomSubspace) or space.redraw_every is not None:
        return None
    state = subspace_state(optimizer.init(params))
    assert state is not None
    return state.space


@jax.jit
def _coordinates(space: AbstractSubspace, moved: PyTree) -> tuple[Coords, jax.Array]:
    """The least-squares solution of ``P c = moved``, and what it leaves, as a fraction."""

    def normal(z: Coords) -> Coords:
        return space.project(space.lift(z))

    coords, _ = jax.scipy.sparse.linalg.cg(normal, space.project(moved), tol=1e-7, maxiter=200)
    rest = jax.tree.map(jnp.subtract, moved, space.lift(coords))
    return coords, _norm(rest) / jnp.maximum(_norm(moved), 1e-30)


def _norm(tree: PyTree) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def _applied(trainer: Trainer, arrays: dict[str, np.ndarray]) -> PyTree:
    """The base, moved."""
    params = trainer.weights.params
    phases = sorted(int(name[len(_STEPS) :]) for name in arrays if name.startswith(_STEPS))
    if phases:
        return parameters(trainer, [arrays[f"{_STEPS}{phase}"] for phase in phases])
    space = _fixed_space(trainer)
    assert space is not None
    origin = space.origin()
    coords = {name: jnp.asarray(arrays[_COORDINATES + name]) for name in origin}
    return jax.tree.map(jnp.add, params, space.lift(coords))


def _about(trainer: Trainer) -> dict[str, Any]:
    """What has to be known to build the same trainer without the data."""
    dataset = trainer.dataset
    return {
        "config": _lean(trainer.config.to_json() | {"data_dir": None, "source": None}),
        "examples": len(dataset.train.targets),
        "shape": list(dataset.shape),
        "outputs": dataset.outputs,
        "base": _digest(trainer.weights.params),
        "made_with": circumstances(),
    }


def _task(about: dict[str, Any], file: Path) -> tuple[RunConfig, Dataset]:
    """The run, and data of the same sizes."""
    try:
        shape, count = tuple(about["shape"]), int(about["examples"])
        inputs = np.broadcast_to(np.uint8(0), (count, *shape))
        train = Split(inputs, np.broadcast_to(np.int32(0), (count,)))
        none = Split(inputs[:0], train.targets[:0])
        config = RunConfig.from_json(_whole(about["config"]))
        return config, Dataset(config.dataset, "", int(about["outputs"]), train, none, none)
    except (KeyError, TypeError, ValueError, InvalidInput):
        raise InvalidInput(
            "file", f"{file} has no seeds and coordinates; make it with subspace export"
        ) from None


def _lean(record: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what is None, in fewer bytes."""
    phases = [{k: v for k, v in phase.items() if v is not None} for phase in record["phases"]]
    return {k: v for k, v in record.items() if v is not None} | {"phases": phases}


def _whole(record: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `_lean`."""
    phases = [
        dict.fromkeys(fields_of_phase(lookup("method", phase["method"], METHODS))) | phase
        for phase in record["phases"]
    ]
    return dict.fromkeys(SHARED) | record | {"phases": phases}


def _digest(params: PyTree) -> str:
    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    return hashlib.sha256(content).hexdigest()[:32]
