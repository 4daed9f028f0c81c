"""Going on from another run: its task, its weights, its trajectory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from subspace import pretrained
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.store import weights_file
from subspace.store.checkpoint import Checkpoints, filled
from subspace.store.folder import RunFolder
from subspace.store.samples import read_rows
from subspace.store.weights import TakenOver, Weights

_T = TypeVar("_T")

_SAME = ("task", "dataset", "model", "context", "validation", "seed")
_SAME += ("architecture", "pooling", "tokenizer", "text_column", "label_column")
"""What has to be the source's: the seed too, as it says which images are for validation."""

_LIKEWISE = ("augment", "label_noise", "data_dir", "stream", "image_size")
"""What is the source's unless given."""


def taken_over(
    given: Mapping[str, Any], then: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]], str]:
    """The arguments of `RunConfig.resolve` for a request, with the task of its ``source``.

    Raises:
        InvalidInput: the source is no run, or the request has another task.
    """
    given = dict(given)
    if given.get("source") is None:
        return given, then, "here"
    folder = RunFolder(Path(given["source"]))
    theirs = folder.read_config("source")
    for name in _SAME:
        have, want = getattr(theirs, name), given.get(name)
        if want is not None and want != have:
            raise InvalidInput(name, f"the run to go on from has {have}, not {want}; leave it out")
        given[name] = have
    for name in _LIKEWISE:
        if given.get(name) is None:
            given[name] = getattr(theirs, name)
    given["epochs_before"] = theirs.epochs_before + theirs.epochs
    return given, then, "first" if theirs.phases[-1].samples_trajectory else "here"


def read_source(config: RunConfig, fresh: Weights, resumed: RunFolder | None) -> TakenOver | None:
    """What a run takes over from its source, or begins with; None if it starts by itself.

    Args:
        config: of the run.
        fresh: weights of its model.
        resumed: the run's own folder if it is resumed: then the source isn't needed any more.

    Raises:
        InvalidInput: the source is unfinished, gone, damaged, of another model, or has no
            trajectory although a phase builds on one.
    """
    if config.init_from is not None and resumed is None:
        weights = starting_weights(config.init_from, fresh, "init_from", config.new_head)
        return TakenOver(weights, None)
    if config.source is None:
        return None
    needed = any(
        phase.on_trajectory and config.sampled_by(i) is None
        for i, phase in enumerate(config.phases)
    )
    size = sum(leaf.size for leaf in jax.tree.leaves(fresh))
    if resumed is not None:
        rows = read_rows(resumed.trajectory_file(-1), size) if needed else None
        return TakenOver(fresh, rows)
    folder = RunFolder(Path(config.source))
    weights = _final_weights(folder, fresh, "source")
    return TakenOver(weights, read_rows(_trajectory(folder), size, "source") if needed else None)


def starting_weights(
    start: str | Path, fresh: Weights, field: str, new_head: bool = False
) -> Weights:
    """The weights in a safetensors file, of a pretrained model, or a finished run's last.

    Args:
        start: a path, or ``package:NAME``.
        fresh: weights of the model that they are for.
        field: that named it.
        new_head: leave the last layer fresh.

    Raises:
        InvalidInput: of ``field``: there are none, or they are of another model.
    """
    folder = pretrained.folder_of(str(start), field)
    path = Path(start) if folder is None else folder / pretrained.WEIGHTS
    if path.is_dir():
        if new_head:
            raise InvalidInput("new_head", "is for files; export the run, --whole, and use that")
        return _final_weights(RunFolder(path), fresh, field)
    arrays, about = weights_file.read(path, field)
    if "config" in about:
        raise InvalidInput(field, f"{path} has coordinates, not weights; use subspace apply first")
    return weights_file.filled(arrays, fresh, path, field, new_head)


def _final_weights(folder: RunFolder, fresh: Weights, field: str) -> Weights:
    """A finished run's last weights."""
    try:
        steps = folder.summary().get("steps")
    except InvalidInput as error:
        raise InvalidInput(field, error.reason) from None
    weights, meta = weights_at(folder, fresh, field)
    if meta["step"] != steps:
        raise InvalidInput(
            field,
            f"{folder.path} ended at step {steps}, but its newest checkpoint is of step "
            f"{meta['step']}; finish it with --resume",
        )
    return weights


def _trajectory(folder: RunFolder) -> Path:
    """The file of a run's last samples, or of those that it went on from."""
    config = folder.read_config("source")
    sampling = config.sampled_by(len(config.phases))
    own = folder.trajectory_file(-1 if sampling is None else sampling)
    if sampling is None and not own.exists():
        raise InvalidInput(
            "source",
            f"{folder.path} has no trajectory; use a run of dldr, or one with --sample-every",
        )
    return own


def newest_weights(
    folder: RunFolder, like: Weights, field: str
) -> tuple[Weights, dict[str, Any], list[int]]:
    """The weights of a run's newest whole checkpoint, its JSON, and which newer ones are damaged.

    Raises:
        InvalidInput: of ``field``: there is none.
    """
    arrays, meta, damaged = _read(folder, field, Checkpoints.newest)
    with _of_field(field):
        return filled(like, arrays), meta, damaged


def arrays_at(
    folder: RunFolder, field: str, step: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of the checkpoint of a step, and its JSON; by default of the newest one.

    Raises:
        InvalidInput: of ``field``: there is none, or it is damaged.
    """

    def find(checkpoints: Checkpoints) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        steps = checkpoints.steps()
        if step is not None and step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise InvalidInput("step", f"there is no checkpoint of step {step}; there are {have}")
        arrays, meta, damaged = checkpoints.newest(step)
        if damaged:
            which = ", ".join(map(str, damaged))
            raise InvalidInput(
                field,
                f"{folder.path} has damaged checkpoints, of step {which}; the newest whole one is "
                f"of step {meta['step']}: resume the run from there, or export that --step",
            )
        return arrays, meta

    return _read(folder, field, find)


def weights_at(
    folder: RunFolder, like: Weights, field: str, step: int | None = None
) -> tuple[Weights, dict[str, Any]]:
    """As `arrays_at`, of them the weights."""
    arrays, meta = arrays_at(folder, field, step)
    with _of_field(field):
        return filled(like, arrays), meta


def _read(folder: RunFolder, field: str, find: Callable[[Checkpoints], _T]) -> _T:
    folder.check_checkpoints(field)
    checkpoints = Checkpoints(folder.checkpoints, field=field)
    try:
        with _of_field(field):
            return find(checkpoints)
    finally:
        checkpoints.close()


@contextmanager
def _of_field(field: str) -> Iterator[None]:
    """Says of what is wrong with a checkpoint which argument named it."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput("step" if error.field == "step" else field, error.reason) from None
