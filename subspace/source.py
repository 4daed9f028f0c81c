"""Going on from another run: its task, its weights, its trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from subspace.checkpoint import Checkpoints
from subspace.config import RunConfig
from subspace.errors import InvalidInput
from subspace.folder import RunFolder
from subspace.snapshots import read_rows
from subspace.stage import Source, Weights

_SAME = ("dataset", "model", "validation", "seed")
"""What has to be the source's: the seed too, as it says which images are for validation."""

_LIKEWISE = ("augment", "data_dir")
"""What is the source's unless given."""


def taken_over(given: Mapping[str, Any]) -> dict[str, Any]:
    """A request with the task of its ``source``, if it has one.

    Raises:
        InvalidInput: the source is no finished run, or the request has another task.
    """
    given = dict(given)
    if given.get("source") is None:
        return given
    folder = RunFolder(Path(given["source"]))
    theirs = folder.read_config("source")
    _check_finished(folder)
    for name in _SAME:
        have, want = getattr(theirs, name), given.get(name)
        if want is not None and want != have:
            raise InvalidInput(name, f"the run to go on from has {have}, not {want}; leave it out")
        given[name] = have
    for name in _LIKEWISE:
        if given.get(name) is None:
            given[name] = getattr(theirs, name)
    return given


def _check_finished(folder: RunFolder) -> None:
    try:
        folder.summary()
    except InvalidInput as error:
        raise InvalidInput("source", error.reason) from None


def read_source(config: RunConfig, fresh: Weights) -> Source | None:
    """What a run takes over from its source; None without one.

    Args:
        config: of the run.
        fresh: weights of its model.

    Raises:
        InvalidInput: the source is gone, damaged, of another model, or has no trajectory although
            a phase builds on one.
    """
    if config.source is None:
        return None
    folder = RunFolder(Path(config.source))
    theirs = folder.read_config("source")
    weights, _, _ = newest_weights(folder, fresh, "source")
    needed = any(
        phase.on_trajectory and config.sampled_by(i) is None
        for i, phase in enumerate(config.phases)
    )
    if not needed:
        return Source(weights, None)
    sampling = theirs.sampled_by(len(theirs.phases))
    if sampling is None:
        raise InvalidInput(
            "source",
            f"{folder.path} has no trajectory; use a run of dldr, or one with --sample-every",
        )
    size = sum(leaf.size for leaf in jax.tree.leaves(fresh))
    return Source(weights, read_rows(folder.trajectory_file(sampling), size, "source"))


def newest_weights(
    folder: RunFolder, like: Weights, field: str
) -> tuple[Weights, dict[str, Any], list[int]]:
    """The weights of a run's newest whole checkpoint, its JSON, and which were damaged.

    Raises:
        InvalidInput: of ``field``: there is none.
    """
    folder.check_checkpoints(field)
    checkpoints = Checkpoints(folder.checkpoints)
    try:
        return checkpoints.restore(lambda meta: like)
    except InvalidInput as error:
        raise InvalidInput(field, error.reason) from None
    finally:
        checkpoints.close()
