"""Trains for a few steps on JAX_NUM_CPU_DEVICES devices: python train_on_devices.py OUT.npz

With PORT COUNT INDEX behind it, it is one of COUNT processes, of which the first stores.

Stores the parameters that each case reaches, and the sizes of all collectives in its step.
"""

from __future__ import annotations

import math
import re
import sys

import equinox as eqx
import jax
import numpy as np

from subspace import data, distributed, models
from subspace.config.run import RunConfig
from subspace.methods import METHODS, OnTrajectory
from subspace.train.evaluate import totals
from subspace.train.trainer import Trainer

CASES = {
    "sgd-fc": {"method": "sgd", "model": "fc"},
    "rbd-fc": {"method": "rbd", "model": "fc", "dim": 50, "augment": True},
    "rbd-normal-fc": {"method": "rbd", "model": "fc", "dim": 50, "basis": "normal"},
    "rbd-feedback-fc": {"method": "rbd", "model": "fc", "dim": 50, "error_feedback": True},
    "independent-fc": {"method": "rbd", "dim": 20, "exchange": "independent", "workers": 4},
    "split-fc": {"method": "rbd", "dim": 40, "exchange": "split", "workers": 4},
    "fpd-independent-fc": {"method": "fpd", "dim": 20, "exchange": "independent", "workers": 4},
    "sgd-local-fc": {"method": "sgd", "local_steps": 3, "workers": 4},
    "rbd-local-int8-fc": {
        **{"method": "rbd", "dim": 50, "error_feedback": True, "sent_as": "int8"},
        **{"local_steps": 3, "outer_momentum": 0.5, "workers": 4},
    },
    "rbd-bfloat16-fc": {"method": "rbd", "dim": 50, "sent_as": "bfloat16", "workers": 4},
    "local-normed": {"method": "sgd", "model": "normed", "local_steps": 3, "workers": 4},
    "few-of-many-fc": {"method": "sgd", "workers": 8, "participation": 0.5, "skew": 0.3},
    "nes-fc": {"method": "nes", "dim": 8, "shaping": "none"},
    "nes-split-fc": {"method": "nes", "dim": 8, "exchange": "split", "workers": 4},
    "psgd-fc": {"method": "psgd", "dim": 5},
    "pbfgs-fc": {"method": "pbfgs", "dim": 5, "batch_size": 256},
    "newton-fc": {"method": "newton", "dim": 5, "batch_size": 256},
    "rbd-normed": {"method": "rbd", "model": "normed", "dim": 50},
    "hylo-fc": {"method": "hylo", "refresh": 2, "memory": 2},
    "kfac-fc": {"method": "kfac", "refresh": 2},
    "kid-normed": {"method": "hylo", "model": "normed", "selection": "kid", "refresh": 2},
}
STEPS = {
    "sgd-local-fc": 7,
    "local-normed": 6,
    "rbd-local-int8-fc": 7,
    "rbd-bfloat16-fc": 4,
    "few-of-many-fc": 4,
    "nes-fc": 3,
    "nes-split-fc": 3,
    "psgd-fc": 3,
    "pbfgs-fc": 4,
    "newton-fc": 3,
    "rbd-normal-fc": 5,
    "rbd-normed": 3,
    "hylo-fc": 5,
    "kfac-fc": 5,
    "kid-normed": 5,
}
SKIPPED = {
    *("rbd-normal-fc", "rbd-normed", "fpd-independent-fc", "nes-fc", "nes-split-fc"),
    *("psgd-fc", "newton-fc", "kfac-fc", "kid-normed", "local-normed", "few-of-many-fc"),
}
"""Cases whose collectives others have too; several processes need not run them."""
COLLECTIVE = re.compile(
    r"= (.*?) (?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
    r"collective-broadcast)(?:-start)?\("
)


class Normed(eqx.Module):
    """Batch normalisation of the pixels, which the rows of the layer behind it feel."""

    norm: models.BatchNorm
    out: models.Dense

    def __init__(self, in_shape, classes, *, key):
        self.norm = models.BatchNorm.of(in_shape[-1])
        self.out = models.Dense(math.prod(in_shape), classes, key=key)

    def __call__(self, image, state):
        normed, state = self.norm(image, state)
        return self.out(normed.reshape(-1)), state


def collectives(text):
    """The elements of each result of each collective in compiled HLO."""
    for result in COLLECTIVE.findall(text):
        for shape in re.findall(r"\w+\[([\d,]*)\]", result):
            yield int(np.prod([int(size) for size in shape.split(",") if size] or [1]))


def prepare(given):
    """A trainer, and the phase to try; one on a trajectory follows one that is only said to be."""
    if not issubclass(METHODS[given["method"]], OnTrajectory):
        trainer = Trainer(RunConfig.resolve({"epochs": 1, **given}), data.load("digits"))
        return trainer, trainer.running(0)
    config = RunConfig.resolve({"method": "dldr", "epochs": 7}, [{"epochs": 1, **given}])
    trainer = Trainer(config, data.load("digits"))
    walk = 0.02 * np.random.default_rng(0).normal(size=(8, trainer.row_size))
    rows = trainer.row(trainer.weights) + np.cumsum(walk, axis=0)
    return trainer, trainer.running(1, rows.astype(np.float32))


def train(given, steps=None):
    """Parameters after some steps or an epoch, on every device, and the collectives of a step.

    Of the step that exchanges most, and of the one that exchanges least.
    """
    trainer, running = prepare(given)
    split = trainer.dataset.train
    workers = trainer.workers(running.phase)
    state = trainer.placed(trainer.first_state(running, trainer.weights, workers))
    order = trainer.order(running.place, running.place.first_epoch)
    inputs = trainer.placed((np.asarray(split.inputs), np.asarray(split.targets), order))
    programs = {}  # two of a method with work that not every step does
    for i in range(steps or running.place.steps):
        due = running.due(running.place.first_step + i)
        if due not in programs:
            programs[due] = running.train_step.lower(state, *inputs, due=due).compile()
        state = programs[due](state, *inputs)
    numbers = [
        *jax.tree.leaves(state.params),
        *jax.tree.leaves(state.model_state),
        *totals(state.meters).sums.values(),
    ]
    each = [
        np.concatenate([np.float32(leaf.addressable_shards[i].data).ravel() for leaf in numbers])
        for i in range(jax.local_device_count())
    ]
    told = sorted((list(collectives(one.as_text())) for one in programs.values()), key=sum)
    return np.stack(each), told[-1], told[0]


def main(out, port=None, count="1", index="0"):
    models.MODELS["normed"] = models.ModelEntry("", Normed)
    if port:
        distributed.join(f"127.0.0.1:{port}", int(count), int(index))
    results = {"devices": np.asarray(jax.device_count())}
    for name, given in CASES.items():
        if port and name in SKIPPED:
            continue
        reached, most, least = train(given, STEPS.get(name))
        results[name], results[f"{name}-collectives"] = reached, np.asarray(most)
        results[f"{name}-least"] = np.asarray(least)
    if distributed.is_main():
        np.savez(out, **results)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main(*sys.argv[1:])
