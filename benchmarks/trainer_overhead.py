"""Examples per second of ``subspace run`` over those of the bare jitted step: CNN, batch 32.

    python benchmarks/trainer_overhead.py [--json] [--repeats 7] [--method rbd]

The bare step is the trainer's own, called in a loop that does nothing else. The trainer's figure
is of the whole loop around it: order, meters, progress, stop checks. Data are random images.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import jax
import measure
import numpy as np

from subspace.config.run import RunConfig
from subspace.data.dataset import Dataset, Split
from subspace.run.execute import started
from subspace.store.folder import RunFolder
from subspace.train.trainer import Trainer

STEPS = 200


def random_data() -> Dataset:
    """A training split of STEPS batches of 32×32×3 noise."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return Split(images, rng.integers(0, 10, count).astype(np.int32))

    return Dataset("noise", "0", 10, split(STEPS * 32), split(32), split(32))


def bare(trainer: Trainer) -> float:
    """Examples per second of the step alone."""
    running = trainer.running(0)
    state = trainer.first_state(running, trainer.weights, trainer.mesh.size)
    state = trainer.placed(state)
    split = trainer.dataset.train
    inputs = trainer.placed((split.inputs, split.targets, trainer.order(running.place, 0)))
    state = jax.block_until_ready(running.train_step(state, *inputs))
    start = time.perf_counter()
    for _ in range(STEPS):
        state = running.train_step(state, *inputs)
    jax.block_until_ready(state)
    return STEPS * 32 / (time.perf_counter() - start)


def whole(trainer: Trainer) -> float:
    """Examples per second as a run reports them."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path) / "run")
        with started(folder, trainer) as loop:
            return loop.run()["examples_per_second"]


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.add_argument("--method", default="rbd", help="sgd, rbd or fpd")
    options = arguments.parse_args()
    given = {"method": options.method, "model": "cnn", "dataset": "noise", "epochs": 1}
    trainer = Trainer(RunConfig.resolve(given | {"learning_rate": 0.01}), random_data())
    bare(trainer)
    rounds = [(whole(trainer), bare(trainer)) for _ in range(options.repeats)]
    ratio, low, high = measure.ratio(*zip(*rounds, strict=True))
    figures = {
        "method": options.method,
        "run, examples/s": statistics.median(run for run, _ in rounds),
        "bare step, examples/s": statistics.median(step for _, step in rounds),
        "ratio": ratio,
        "lowest": low,
        "highest": high,
        "target": 0.85,
    }
    measure.show("Trainer overhead, CNN 32×32×3, batch 32", [figures], options.json)


if __name__ == "__main__":
    main()
