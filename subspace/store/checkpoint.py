"""Checkpoints: Orbax on disk, each verified bit by bit when it is restored."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from subspace import distributed, files
from subspace.errors import InvalidInput
from subspace.store.quiet import QUIET

_T = TypeVar("_T", bound=PyTree)
_ABOUT = 1 << 20  # bytes of what a checkpoint says of itself


class Checkpoints:
    """The checkpoints of one run, by step; the newest ``keep`` stay.

    Saving copies the arrays and writes them in the background; an unfinished one is never taken
    for a checkpoint. Until it is closed, Orbax prints and logs nothing of its own.

    Args:
        folder: theirs.
        keep: how many.
        field: of whom it is said that they can't be opened.

    Raises:
        InvalidInput: of ``field``: Orbax can't open one of them, and so none.
    """

    def __init__(self, folder: Path, keep: int = 3, field: str = "resume"):
        import orbax.checkpoint as ocp

        for file in folder.glob("[0-9]*/_CHECKPOINT_METADATA"):
            files.size_of(file, field)  # a pipe would be waited for

        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._folder, self._failed = folder, False
        self._open = True
        QUIET.enter()
        try:
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except BaseException as error:
            QUIET.leave()
            if not isinstance(error, ValueError | TypeError | RecursionError):
                raise
            which = (_odd(folder) or [f"one of the checkpoints in {folder}"])[0]
            reason = f"{which} is damaged; move it away, and the checkpoints before it are taken"
            raise InvalidInput(field, reason) from error

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Saves a pytree of arrays, and JSON beside it; a step already saved stays as it is.

        Raises:
            OSError: this one, or the one before it, can't be written.
        """
        import orbax.checkpoint as ocp

        if step in self._manager.all_steps():
            return
        arrays = {name: _whole(leaf) for name, leaf in named(state).items()}
        meta = meta | {"names": list(arrays)}
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(arrays),
            meta=ocp.args.JsonSave(meta | {"digest": _digest(arrays, meta, step)}),
        )
        with self._writing():
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
        return filled(like(meta), arrays), meta, damaged

    def newest(
        self, until: int | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any], list[int]]:
        """As `restore`, with all arrays by their names; of those up to a step."""
        damaged = []
        for step in reversed([one for one in self.steps() if until is None or one <= until]):
            try:
                return *self.read(step), damaged
            except Exception:  # Orbax and its stores raise many kinds for damaged files
                damaged.append(step)
        which = ", ".join(map(str, damaged))
        what = f"all checkpoints are damaged: step {which}" if damaged else "there is no checkpoint"
        raise InvalidInput("resume", f"{what} in {self._folder}; make the run again")

    def read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All arrays of a checkpoint by their names, and its JSON; raises if it isn't whole."""
        import orbax.checkpoint as ocp

        for file in (self._folder / str(step)).rglob("*"):
            if not file.is_dir():
                files.size_of(file, "resume")  # a pipe would be waited for
        # the JSON first: it names the arrays, each of which is to be read as NumPy's
        read: Any = self._manager.restore(
            step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )
        meta: dict[str, Any] = dict(read.meta)
        written = meta.pop("digest")
        plain = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in meta["names"]}
        items = ocp.args.Composite(state=ocp.args.PyTreeRestore(restore_args=plain))
        restored: Any = self._manager.restore(step, args=items)
        arrays = {name: np.asarray(array) for name, array in restored.state.items()}
        if written != _digest(arrays, meta, step):
            raise ValueError(f"checkpoint {step} is not what was written")
        meta.pop("names")
        return arrays, meta

    def drop(self, steps: list[int]) -> None:
        """Deletes checkpoints, so that their steps can be saved again."""
        for step in steps:
            self._manager.delete(step)

    def wait(self) -> None:
        """Until all is on disk.

        Raises:
            OSError: it can't be written, as the disk is full or the like.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Ends all that was begun.

        Raises:
            OSError: what is still being written can't be.
        """
        if not self._open:
            return
        self._open = False
        try:
            if not self._failed:  # or it would say so again
                with self._writing():
                    self._manager.close()
        finally:
            QUIET.leave(late=self._failed)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Orbax writes in the background, and raises later, and many kinds, what went wrong."""
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            self._failed = True
            reason = str(error).rpartition(": ")[2].partition(" [os_error")[0]
            number = getattr(error, "errno", None) or errno.EIO
            message = f"a checkpoint can't be written: {reason or error}; those before it stay"
            raise OSError(number, message, str(self._folder)) from error


def _odd(folder: Path) -> list[Path]:
    """Checkpoints that don't say of themselves what Orbax expects."""
    found = []
    for file in sorted(folder.glob("[0-9]*/_CHECKPOINT_METADATA")):
        try:
            files.parsed(files.read(file, "resume", most=_ABOUT), file, "resume")
        except InvalidInput:
            found.append(file.parent)
    return found


def named(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, so that a checkpoint can be read without our classes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def filled(like: _T, arrays: dict[str, np.ndarray]) -> _T:
    """The arrays in a pytree's places."""
    template = named(like)
    for name, leaf in template.items():
        have = arrays.get(name)
        if have is None or have.shape != leaf.shape or have.dtype != leaf.dtype:
            raise InvalidInput("resume", f"the checkpoint's {name} is not of this configuration")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in template])


def _whole(leaf: Any) -> Any:
    """As NumPy, unless other processes hold parts of it: then each writes its own."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return leaf
    return np.asarray(leaf)


def _digest(arrays: dict[str, Any], meta: dict[str, Any], step: int) -> str:
    """Of names, dtypes, shapes and bytes, row by row, as processes may hold rows of their own."""
    digest = hashlib.sha256(f"{step} {files.digest(meta)}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        if isinstance(array, jax.Array):
            digest.update(_rows_of_all(array))
        else:
            digest.update(_rows(array))
    return digest.hexdigest()


def _rows(array: np.ndarray) -> bytes:
    """A digest of each row along the first axis."""
    rows = array[None] if array.ndim == 0 else array
    return b"".join(hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in rows)


def _rows_of_all(array: jax.Array) -> bytes:
    """`_rows` of an array whose rows are divided among processes."""
    size = hashlib.sha256().digest_size
    mine = np.zeros(array.shape[0] * size, np.uint8)
    for shard in array.addressable_shards:
        found = np.frombuffer(_rows(np.asarray(shard.data)), np.uint8)
        start = (shard.index[0].start or 0) * size
        mine[start : start + found.size] = found
    return distributed.gathered(mine).max(axis=0).tobytes()
