"""Trains for a few steps on JAX_NUM_CPU_DEVICES devices: python train_on_devices.py OUT.npz

Stores the parameters that each case reaches, and the sizes of all collectives in its step.
"""

from __future__ import annotations

import re
import sys

import jax
import numpy as np

from subspace import data
from subspace.config import RunConfig
from subspace.trainer import Trainer

CASES = {
    "sgd-fc": {"method": "sgd", "model": "fc"},
    "rbd-fc": {"method": "rbd", "model": "fc", "dim": 50, "augment": True},
    "rbd-normal-fc": {"method": "rbd", "model": "fc", "dim": 50, "basis": "normal"},
    "rbd-feedback-fc": {"method": "rbd", "model": "fc", "dim": 50, "error_feedback": True},
    "rbd-resnet8": {"method": "rbd", "model": "resnet8", "dim": 50, "learning_rate": 2.0},
}
STEPS = {"rbd-normal-fc": 5, "rbd-resnet8": 3}
COLLECTIVE = re.compile(
    r"= (.*?) (?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
    r"collective-broadcast)(?:-start)?\("
)


def collectives(text):
    """The elements of each result of each collective in compiled HLO."""
    for result in COLLECTIVE.findall(text):
        for shape in re.findall(r"\w+\[([\d,]*)\]", result):
            yield int(np.prod([int(size) for size in shape.split(",") if size] or [1]))


def train(given, steps=None):
    """Parameters after some steps or an epoch, and the collectives of a step."""
    config = RunConfig.resolve({"dataset": "digits", "epochs": 1, **given})
    trainer = Trainer(config, data.load("digits"))
    split = trainer.dataset.train
    stage = trainer.stage(0)
    state = trainer.placed(stage.state(trainer.weights, trainer.mesh.size))
    order = trainer.order(stage.span, 0)
    inputs = trainer.placed((np.asarray(split.images), np.asarray(split.labels), order))
    step = stage.train_step.lower(state, *inputs).compile()
    for _ in range(steps or stage.span.steps):
        state = step(state, *inputs)
    numbers = [*jax.tree.leaves(state.params), *jax.tree.leaves(state.model_state), *state.meters]
    flat = np.concatenate([np.ravel(np.asarray(leaf, np.float32)) for leaf in numbers])
    return flat, list(collectives(step.as_text()))


if __name__ == "__main__":
    results = {"devices": np.asarray(jax.device_count())}
    for name, given in CASES.items():
        results[name], results[f"{name}-collectives"] = map(
            np.asarray, train(given, STEPS.get(name))
        )
    np.savez(sys.argv[1], **results)  # pyright: ignore[reportArgumentType]
