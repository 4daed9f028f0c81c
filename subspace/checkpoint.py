"""Checkpoints: Orbax on disk, each verified bit by bit when it is restored."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from subspace.errors import InvalidInput

_T = TypeVar("_T", bound=PyTree)


class Checkpoints:
    """The checkpoints of one run, by step; the newest ``keep`` stay.

    Saving copies the arrays and writes them in the background; an unfinished one is never taken
    for a checkpoint.
    """

    def __init__(self, folder: Path, keep: int = 3):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.CRITICAL)  # what is damaged, restore() says
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Saves a pytree of arrays, and JSON beside it; a step already saved stays as it is."""
        import orbax.checkpoint as ocp

        if step in self._manager.all_steps():
            return
        arrays = _named(jax.tree.map(np.asarray, state))
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays),
            meta=ocp.args.JsonSave(meta | {"digest": _digest(arrays)}),
        )
        self._manager.save(step, args=items)

    def restore(self, like: Callable[[dict[str, Any]], _T]) -> tuple[_T, dict[str, Any], list[int]]:
        """The newest checkpoint that is whole, or a part of it.

        Args:
            like: from the JSON saved with it, a pytree of arrays with the shapes and dtypes that
                were saved; what it leaves out isn't restored.

        Returns:
            The state, the JSON saved with it, and the steps of newer checkpoints that are damaged.

        Raises:
            InvalidInput: there is no checkpoint, none is whole, or it isn't like ``like``.
        """
        arrays, meta, damaged = self.newest()
        return _filled(like(meta), arrays), meta, damaged

    def newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any], list[int]]:
        """As `restore`, with all arrays by their names."""
        damaged = []
        for step in reversed(self.steps()):
            try:
                return *self._read(step), damaged
            except Exception:  # Orbax and its stores raise many kinds for damaged files
                damaged.append(step)
        what = f"all checkpoints are damaged ({damaged})" if damaged else "it has no checkpoint"
        raise InvalidInput("resume", f"{what}; start the run again with another --out")

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        import orbax.checkpoint as ocp

        items = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
        restored: Any = self._manager.restore(step, args=items)
        arrays = {name: np.asarray(array) for name, array in restored.state.items()}
        meta: dict[str, Any] = dict(restored.meta)
        if meta.pop("digest") != _digest(arrays):
            raise ValueError(f"checkpoint {step} is not what was written")
        return arrays, meta

    def drop(self, steps: list[int]) -> None:
        """Deletes checkpoints, so that their steps can be saved again."""
        for step in steps:
            self._manager.delete(step)

    def wait(self) -> None:
        """Until all is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _named(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, so that a checkpoint can be read without our classes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _filled(like: _T, arrays: dict[str, np.ndarray]) -> _T:
    """The arrays in a pytree's places."""
    template = _named(like)
    for name, leaf in template.items():
        have = arrays.get(name)
        if have is None or have.shape != leaf.shape or have.dtype != leaf.dtype:
            raise InvalidInput("resume", f"the checkpoint's {name} is not of this configuration")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in template])


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
