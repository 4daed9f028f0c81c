"""What a run will be like, without making it: sizes, steps, memory, time."""

from __future__ import annotations

import time
from typing import Any

import jax

from subspace.config.run import RunConfig
from subspace.data.stream import Feed
from subspace.run.execute import load
from subspace.store.source import read_source
from subspace.train.running import PlacedPhase
from subspace.train.trainer import Trainer

_TIMED = 5  # steps, after the first one
_LONGEST = 20.0  # seconds for them


def estimate(config: RunConfig) -> dict[str, Any]:
    """D, d, steps, memory and time of a run, from a few steps of each phase; writes nothing.

    Returns:
        ``parameters``, D; ``train_examples``; and ``phases``, of each ``method``, ``dimensions``,
        ``epochs``, ``steps`` in all, ``bytes``, what a device holds during a step by XLA's account,
        and ``seconds`` without evaluation. A phase on a trajectory that isn't there yet has None
        for the last four that depend on it. ``seconds``, their sum, if all are known.

    Raises:
        InvalidInput: as the run would.
    """
    trainer = Trainer(config, load(config), lambda fresh: read_source(config, fresh, None))
    feed = Feed(*trainer.dataset.train, trainer.placed)
    try:
        phases = [_of_phase(trainer, place, feed) for place in trainer.phases]
    finally:
        feed.close()
    times = [phase["seconds"] for phase in phases]
    return {
        "parameters": trainer.parameters,
        "train_examples": len(trainer.dataset.train.targets),
        "phases": phases,
        "seconds": None if None in times else sum(times),
    }


def _of_phase(trainer: Trainer, place: PlacedPhase, feed: Feed) -> dict[str, Any]:
    phase, steps = place.phase, place.end_step - place.first_step
    known = {"method": phase.method.name, "epochs": phase.epochs, "steps": steps}
    if phase.on_trajectory and trainer.source_rows is None:
        dim = phase.values.get("dim")
        return known | {"dimensions": dim, "bytes": None, "seconds": None}
    running = trainer.running(place.index)
    workers = trainer.workers(phase)
    state = trainer.placed(trainer.first_state(running, running.start or trainer.weights, workers))
    feed.begin(trainer.order(place, place.first_epoch), phase.batch_size)
    inputs, due = feed.at(0), running.due(place.first_step)
    program = running.train_step.lower(state, *inputs, due=due).compile()  # pyright: ignore
    state = jax.block_until_ready(program(state, *inputs))
    begun, timed = time.perf_counter(), 0
    while timed < _TIMED and time.perf_counter() - begun < _LONGEST:
        state = jax.block_until_ready(program(state, *inputs))
        timed += 1
    each = (time.perf_counter() - begun) / timed
    return known | {
        "dimensions": running.dimensions(trainer.weights.params),
        "bytes": _bytes(program),
        "seconds": steps * each,
    }


def _bytes(program: Any) -> int | None:
    """What a device holds while the program runs; None where the backend doesn't say."""
    found = program.memory_analysis()
    if found is None:
        return None
    alias = found.alias_size_in_bytes
    return int(
        found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes - alias
    )
