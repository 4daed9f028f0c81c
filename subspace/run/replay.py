"""The weights of a run at any step, rebuilt from its seed and the coordinates of its steps."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from subspace import files
from subspace.errors import InvalidInput, in_phase
from subspace.optim.exchange import AbstractExchange, Told
from subspace.optim.in_subspace import subspace_state
from subspace.optim.workers import AbstractWorkers, OneWorker
from subspace.run.execute import load
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.store.checkpoint import Checkpoints, filled, named
from subspace.store.circumstances import check_same
from subspace.store.coordinate_log import CoordinateLog
from subspace.store.folder import RunFolder
from subspace.store.source import read_source
from subspace.train.mesh import for_workers
from subspace.train.running import PlacedPhase, dimensions
from subspace.train.trainer import Trainer


def replay(
    folder: RunFolder,
    *,
    step: int | None = None,
    since: int | None = None,
    verify: bool = False,
    out: Path | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Rebuilds a run's parameters from seeds and logged coordinates alone.

    A worker that was away needs those of the steps that it missed: d numbers each, no weights.

    On the backend that trained them they are the run's bit for bit. The running statistics of batch
    norm don't follow from coordinates.

    Args:
        folder: of the run; its phases have ``log_coordinates``.
        step: at which; by default, and at most, the last one whose record is whole.
        since: begin at the newest whole checkpoint up to this step, instead of the run's start.
        verify: compare with all checkpoints, or those on the way to ``step``.
        out: a new file for the parameters, as .npz, by their names.
        data_dir: where the dataset is now; by default where it was.

    Returns:
        ``step``, of which the parameters are; ``since``, where they began; ``numbers``, how many
        coordinates were read for them; ``logged``, the last step that is; ``cut_short``, whether
        records are missing of steps that were wanted or have checkpoints; ``digest`` of the
        parameters; ``differences``, the largest to each checkpoint; ``not_compared``, the steps of
        checkpoints that should have been, but are damaged or have no records; ``verified``, whether
        some were compared and all are the same, None without ``verify``; ``out``.

    Raises:
        InvalidInput: no run, a phase without a log, or ``out`` can't be written.
    """
    if out is not None:
        files.check_new(out, ".npz")
    for name, value in {"step": step, "since": since}.items():
        if value is not None and value < 0:
            raise InvalidInput(name, f"must be 0 or more, got {value}")
    if step is not None and since is not None and since > step:
        raise InvalidInput("since", f"must be at most the step to rebuild, {step}, got {since}")
    trainer = at_its_start(folder, data_dir)
    coordinates = logged_coordinates(trainer, folder)
    logged = sum(len(rows) for rows in coordinates)
    at = logged if step is None else min(step, logged)
    checkpoints = Checkpoints(folder.checkpoints, field="run")
    try:
        begin = _Begin(0, 0, trainer.weights.params, None)
        if since is not None:
            begin = _begun(trainer, checkpoints, min(since, logged))
        saved = [s for s in checkpoints.steps() if s > begin.step or since is None]
        wanted = [s for s in saved if verify and (step is None or s <= step)]
        gaps: dict[int, float] = {}
        params: PyTree = None
        stops = sorted({at, *(s for s in wanted if s <= at)})
        for stop, params in _path(trainer, coordinates, stops, begin):
            held = _read(checkpoints, stop) if stop in wanted else None
            if held is not None:
                gaps[stop] = _largest_gap(params, held)
    finally:
        checkpoints.close()
    arrays = {name: np.asarray(leaf) for name, leaf in named(params).items()}
    if out is not None:
        _write(out, arrays)
    digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays)))
    missing = [s for s in wanted if s not in gaps]
    return {
        "step": at,
        "since": begin.step,
        "numbers": _numbers(coordinates, begin.step, at),
        "logged": logged,
        "cut_short": logged < max([step or 0, *saved]),
        "digest": digest.hexdigest()[:16],
        "differences": gaps,
        "not_compared": missing,
        "verified": bool(gaps) and not missing and not any(gaps.values()) if verify else None,
        "out": None if out is None else str(out),
    }


def at_its_start(folder: RunFolder, data_dir: str | None) -> Trainer:
    """A run's trainer, with the weights that it began with.

    Args:
        folder: of the run.
        data_dir: where the dataset is now; by default where it was.

    Raises:
        InvalidInput: no run, or what it began with is gone.
    """
    config = folder.read_config("run")
    check_same(folder.made_with("run"), "run")
    config = replace(config, data_dir=data_dir or config.data_dir)
    return Trainer(config, load(config), lambda fresh: read_source(config, fresh, None))


def parameters(trainer: Trainer, coordinates: Sequence[Float[np.ndarray, "_ _"]]) -> PyTree:
    """The parameters after all these steps, phase by phase."""
    begin = _Begin(0, 0, trainer.weights.params, None)
    ((_, params),) = _path(trainer, coordinates, [sum(len(rows) for rows in coordinates)], begin)
    return params


def logged_coordinates(
    trainer: Trainer, folder: RunFolder, stop: int | None = None
) -> list[Float[np.ndarray, "_ _"]]:
    """The coordinates of every phase, up to a step or the first record that isn't whole."""
    found = []
    for place in trainer.phases:
        with in_phase(place.index, place.phase.method.name):
            if not place.phase.logs_coordinates:
                raise InvalidInput("run", "has no coordinates; run it with --log-coordinates")
        params = trainer.weights.params
        optimizer = trainer.optimizer(place, params, trainer.exchange(place.phase))
        size = dimensions(place.phase.method, optimizer, params)
        log = CoordinateLog(folder.coordinates_file(place.index), size, place.first_step)
        end = place.end_step if stop is None else min(stop, place.end_step)
        found.append(log.read()[: max(0, end - place.first_step)])
        if len(found[-1]) < place.end_step - place.first_step:
            break
    return found


class _Begin(NamedTuple):
    """Where a replay begins; without a state at the beginning of a phase."""

    phase: int
    step: int
    params: PyTree
    state: Any


def _begun(trainer: Trainer, checkpoints: Checkpoints, since: int) -> _Begin:
    """At the newest whole checkpoint up to a step, of whose workers' own arrays one stands for all.

    Raises:
        InvalidInput: there is none.
    """
    if not any(s <= since for s in checkpoints.steps()):
        raise InvalidInput("since", f"there is no checkpoint up to step {since}; leave it out")
    arrays, meta, _ = checkpoints.newest(since)
    running = trainer.running(meta["phase"])
    like = trainer.first_state(running, trainer.weights, meta["workers"])
    state = for_workers(filled(like, arrays), 1)
    return _Begin(meta["phase"], int(meta["step"]), state.params, state.opt_state)


def _numbers(coordinates: Sequence[Float[np.ndarray, "_ _"]], since: int, until: int) -> int:
    """How many coordinates lie between two steps."""
    sizes = [rows.shape[1] for rows in coordinates for _ in rows]
    return sum(sizes[since:until])


def _path(
    trainer: Trainer,
    coordinates: Sequence[Float[np.ndarray, "_ _"]],
    stops: Sequence[int],
    begin: _Begin,
) -> Iterator[tuple[int, PyTree]]:
    """The parameters at some steps, in order; they are valid until the next ones are asked for."""
    params, done, waiting = begin.params, begin.step, list(stops)
    phases = list(zip(trainer.phases, coordinates, strict=False))
    for place, rows in phases[begin.phase :]:
        step, init = _replay_step(trainer, place)
        fresh = begin.state is None or place.index > begin.phase
        state = init(params) if fresh else begin.state
        params, state = jax.tree.map(jnp.array, (params, state))  # a step takes its own
        due = place.phase.method.due
        for i, row in list(enumerate(rows))[done - place.first_step :]:
            if waiting and waiting[0] == done:
                yield waiting.pop(0), params
            if not waiting:
                return
            params, state = step(params, state, row, due=due(i, place.steps))
            done += 1
    if waiting:
        yield waiting[0], params


def _replay_step(trainer: Trainer, place: PlacedPhase) -> tuple[Any, Any]:
    """A step from coordinates, compiled, and what makes a phase's first optimizer state."""
    exchange = trainer.exchange(place.phase)
    target = trainer.weights.params
    init = trainer.optimizer(place, target, exchange).init
    state = subspace_state(jax.eval_shape(init, target))
    assert state is not None
    unravel = ravel_pytree(jax.tree.map(lambda z: jnp.zeros(z.shape, z.dtype), state.agreed))[1]

    def step(
        params: PyTree, state: Any, agreed: Float[Array, " d"], due: bool | None
    ) -> tuple[PyTree, Any]:
        known = trainer.optimizer(place, target, _Agreed(OneWorker(), exchange, unravel(agreed)))
        # gradients and losses that nobody measures: what was agreed on stands for them
        unknown = jax.tree.map(jnp.zeros_like, params)
        told = {"value_fn": lambda *_: jnp.float32(0), "due": due}
        updates, state = known.update(unknown, state, params, **told)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1), static_argnames="due"), init


@final
class _Agreed(AbstractExchange):
    """Another exchange, where what all agreed on is known and nobody measures."""

    workers: AbstractWorkers
    exchange: AbstractExchange
    agreed: Coords

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return self.exchange.joint(space)

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        return Told(self.agreed, measured)

    def trivial(self) -> bool:
        return False

    def shares_directions(self) -> bool:
        return True

    def draws(self) -> bool:
        return self.exchange.draws()


def _read(checkpoints: Checkpoints, step: int) -> dict[str, np.ndarray] | None:
    """The arrays of a checkpoint; None if it is damaged."""
    try:
        return checkpoints.read(step)[0]
    except Exception:  # Orbax and its stores raise many kinds for damaged files
        return None


def _write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        files.replace(file, content.getvalue())
    except OSError as error:
        raise InvalidInput("out", f"can't write {file}: {error.strerror}") from None


def _largest_gap(params: PyTree, arrays: dict[str, np.ndarray]) -> float:
    """The largest difference of an entry to a checkpoint's."""
    return max(
        float(np.abs(np.asarray(leaf) - arrays[f"params.{name}"]).max())
        for name, leaf in named(params).items()
    )
