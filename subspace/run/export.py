"""A run in a subspace as a small file: seeds and coordinates, to be applied to the same base.

With a subspace that never changes (FPD) that is d numbers, ``θ = θ₀ + P c``. With one that is
redrawn (RBD) it is the coordinates of every step, which `--log-coordinates` kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from subspace.config.run import RunConfig
from subspace.data.dataset import Dataset, Split
from subspace.errors import InvalidInput
from subspace.optim.in_subspace import subspace_state
from subspace.run.adapter import COORDINATES, Adapter, config_of, coordinates, digest, lean
from subspace.run.execute import opened
from subspace.run.numbers import packed
from subspace.run.replay import at_its_start, logged_coordinates, parameters
from subspace.spaces.base import AbstractSubspace
from subspace.store import proof, weights_file
from subspace.store.checkpoint import filled
from subspace.store.circumstances import check_same, switches
from subspace.store.folder import RunFolder
from subspace.store.source import arrays_at, starting_weights, weights_at
from subspace.store.weights import TakenOver, Weights
from subspace.train.trainer import Trainer

_STEPS = "steps."
_LEFT = 1e-3  # of the way that a run went, outside of its subspace
_ROUNDING = 1e-5  # of the parameters' length, over all steps together


def export(
    folder: RunFolder,
    out: Path,
    *,
    whole: bool = False,
    numbers: str = "float32",
    step: int | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Writes a run's newest weights to a file.

    Args:
        folder: of the run.
        out: a new ``.safetensors`` file.
        whole: all D numbers, which ``--init-from`` takes, instead of seeds and coordinates.
        numbers: how coordinates are kept: ``"float32"``, ``"bfloat16"`` or ``"int8"``.
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
    if whole:
        if numbers != "float32":
            raise InvalidInput("numbers", "is for coordinates; leave it out, or whole")
        trainer = opened(folder, data_dir)
        weights, _ = weights_at(folder, trainer.weights, "run", step)
        weights_file.write_whole(out, weights, trainer.config.model)
        described = trainer.parameters
    else:
        trainer = at_its_start(folder, data_dir)
        described = _export_few(trainer, folder, out, numbers, step)
    return {
        "out": str(out),
        "bytes": out.stat().st_size,
        "numbers": described,
        "parameters": trainer.parameters,
    }


def _export_few(
    trainer: Trainer, folder: RunFolder, out: Path, numbers: str, step: int | None
) -> int:
    """Writes seeds and coordinates; returns how many."""
    check_same(folder.made_with("run"), "run")
    saved, meta = arrays_at(folder, "run", step)
    weights = filled(trainer.weights, saved)
    space = _fixed_space(trainer)
    if space is None:
        if numbers != "float32":
            raise InvalidInput("numbers", "a run of many steps keeps float32; leave it out")
        found, about = _steps(trainer, folder, int(meta["step"])), {}
    else:
        found, scales = packed(_coordinates(saved, space), numbers)
        about = {"scales": scales} if scales else {}
    # what `apply` makes of it here, which rounds otherwise than the run
    params = _applied(trainer, space, found, about)
    if numbers == "float32":
        _check_way(trainer.weights.params, weights.params, params)
    state = weights_file.arrays_of(Weights({}, weights.model_state))
    made = weights_file.arrays_of(Weights(params, weights.model_state))
    about |= _about(trainer) | {"makes": proof.of(made)}
    weights_file.write(out, found | state, about, small=True)
    return sum(array.size for array in found.values())


def apply(file: Path, out: Path, base: str | Path | None = None) -> dict[str, Any]:
    """Rebuilds the weights that a file of seeds and coordinates describes.

    Args:
        file: from `export`.
        out: a new ``.safetensors`` file for all D numbers.
        base: the run, file or ``package:NAME`` that the run began with; by default where it was, or
            what its seed initialises.

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
    start = base or config.init_from

    def begin(fresh: Weights) -> TakenOver | None:
        if start is None:
            return None
        return TakenOver(starting_weights(start, fresh, "base", config.new_head), None)

    trainer = Trainer(config.by_itself(), dataset, begin)
    if digest(trainer.weights.params) != about["base"]:
        what = "what the seed initialises" if start is None else str(start)
        raise InvalidInput("base", f"{what} isn't what the run began with; give that, --base")
    try:
        params = _applied(trainer, _fixed_space(trainer), arrays, about)
    except (KeyError, ValueError, TypeError):
        raise InvalidInput("file", f"{file} lacks coordinates; export the run again") from None
    state = {name: array for name, array in arrays.items() if name.startswith("state.")}
    whole = weights_file.arrays_of(Weights(params, trainer.weights.model_state)) | state
    exact = proof.check(whole, about["makes"], file)
    weights_file.write(out, whole, {"model": config.model})
    return {"out": str(out), "parameters": trainer.parameters, "exact": exact}


def _fixed_space(trainer: Trainer) -> AbstractSubspace | None:
    """The subspace of a run that stays in one; None if it is redrawn."""
    place, *others = trainer.phases
    params = trainer.weights.params
    state = subspace_state(
        trainer.optimizer(place, params, trainer.exchange(place.phase)).init(params)
    )
    if state is None:
        raise InvalidInput("run", f"{place.phase.method.name} trains in no subspace; use --whole")
    return None if others or not state.space.fixed() else state.space


def _coordinates(saved: dict[str, np.ndarray], space: AbstractSubspace) -> dict[str, np.ndarray]:
    """The coordinates in a checkpoint, by the names that the file gives them."""
    found = {}
    for name in space.origin():
        ending = f".coords.{name}"
        (held,) = [x for key, x in saved.items() if key.endswith(ending)]
        found[COORDINATES + name] = held
    return found


def _steps(trainer: Trainer, folder: RunFolder, step: int) -> dict[str, np.ndarray]:
    """The coordinates of every step."""
    logged = logged_coordinates(trainer, folder, stop=step)
    if sum(len(rows) for rows in logged) < step:
        raise InvalidInput("run", "its coordinates are cut short; use --whole")
    return {f"{_STEPS}{index}": rows for index, rows in enumerate(logged)}


def _applied(
    trainer: Trainer,
    space: AbstractSubspace | None,
    arrays: dict[str, np.ndarray],
    about: dict[str, Any],
) -> PyTree:
    """The base, moved; ``space`` is that of `_fixed_space`."""
    params = trainer.weights.params
    phases = sorted(int(name[len(_STEPS) :]) for name in arrays if name.startswith(_STEPS))
    if phases:
        return parameters(trainer, [arrays[f"{_STEPS}{phase}"] for phase in phases])
    if space is None:
        raise KeyError(_STEPS)
    return Adapter(space, coordinates(arrays, about, space), trainer.trained).on(params)


def _check_way(start: PyTree, end: PyTree, made: PyTree) -> None:
    """Raises InvalidInput if what is made isn't where the run went, but for its rounding."""
    nowhere = jax.tree.map(jnp.zeros_like, end)
    length, went, left = (_distance(one, end) for one in (nowhere, start, made))
    if left > _LEFT * went + _ROUNDING * length:
        said = f"{left / went:.1%} of the way that it went lies outside of its subspace"
        raise InvalidInput("run", f"{said}; use --whole")


def _distance(left: PyTree, right: PyTree) -> float:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return sum(float(np.sum(np.square(np.asarray(a, np.float64) - b))) for a, b in pairs) ** 0.5


def _about(trainer: Trainer) -> dict[str, Any]:
    """What has to be known to build the same trainer without the data."""
    dataset = trainer.dataset
    return {
        "config": lean(trainer.config),
        "sizes": [len(dataset.train.targets), dataset.outputs, dataset.vocabulary, *dataset.shape],
        "base": digest(trainer.weights.params),
        "made_with": switches(),
    }


def _task(about: dict[str, Any], file: Path) -> tuple[RunConfig, Dataset]:
    """The run, and data of the same sizes."""
    config = config_of(about, file)
    try:
        count, outputs, vocabulary, *shape = about["sizes"]
        inputs = np.broadcast_to(np.uint8(0), (int(count), *shape))
        train = Split(inputs, np.broadcast_to(np.int32(0), (int(count),)))
    except (KeyError, TypeError, ValueError):
        raise InvalidInput("file", f"{file} is damaged; export the run again") from None
    none = Split(inputs[:0], train.targets[:0])
    return config, Dataset(config.dataset, "", int(outputs), train, none, none, vocabulary)
