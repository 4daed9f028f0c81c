"""Throughput of 2 processes beside 1, and a model of a step's time on up to 4,096 workers.

    python benchmarks/scaling.py [--dataset NAME] [--model NAME] [--plot FILE] [--json]

Measured: `subspace run sgd|rbd` in 1 process and, through `subspace launch`, in 2,
with the same global batch of 128; examples a second of the last epoch. The 1 process has a core, or
with ``--cores 2`` all.

Modelled, for 32 examples a worker: compute is measured here (gradient, project, lift of hadamard
directions, d = 250), communication is that of bandwidth-optimal collectives with log₂ K rounds,
``all-reduce(n) = 2 (K-1)/K · 4n/β + 2 log₂ K · λ`` and ``all-gather(n of each) = (K-1) · 4n/β +
log₂ K · λ`` with bandwidth β and latency λ; nothing overlaps, and no worker is slower than another.
With ``split`` every worker computes the gradient of one batch of 32.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import optax

from subspace import RandomSubspace, models

DIM, BATCH = 250, 32
NETWORKS = {
    "data centre, 100 Gbit/s, 10 µs": (12.5e9, 1e-5),
    "office, 1 Gbit/s, 0.2 ms": (125e6, 2e-4),
    "home, 20 Mbit/s, 20 ms": (2.5e6, 2e-2),
}
WORKERS = [2**i for i in range(13)]


def compute_times(repeats: int) -> dict[str, float]:
    """Seconds of the gradient, of project and of lift, and D as ``parameters``."""
    model, state = models.build("cnn", (32, 32, 3), 10, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    images = jax.random.normal(jax.random.key(1), (BATCH, 32, 32, 3))
    labels = jnp.arange(BATCH) % 10

    def loss(params: Any) -> Any:
        logits, _ = models.apply(eqx.combine(params, static), state, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    space = RandomSubspace(params, dim=DIM)
    gradient = jax.jit(jax.grad(loss))
    project = jax.jit(lambda tree: space.project(tree))
    lift = jax.jit(lambda z: space.lift(z))
    coords = project(params)
    work = {
        "gradient": lambda: gradient(params),
        "project": lambda: project(params),
        "lift": lambda: lift(coords),
    }
    figures = measure.interleaved(work, repeats)
    times = {name: sorted(seconds)[len(seconds) // 2] for name, seconds in figures.items()}
    return times | {"parameters": float(models.parameter_count(params))}


def step_times(times: dict[str, float], workers: int, beta: float, lag: float) -> dict[str, float]:
    """Modelled seconds of a step for each way to share it."""
    rounds = math.log2(workers)
    gradient, project, lift = (times[name] for name in ("gradient", "project", "lift"))

    def reduce(numbers: float) -> float:
        return 2 * (workers - 1) / workers * 4 * numbers / beta + 2 * rounds * lag

    def gather(numbers: float) -> float:
        return (workers - 1) * 4 * numbers / beta + rounds * lag

    return {
        "SGD, all-reduce of D": gradient + reduce(times["parameters"]),
        "RBD mean": gradient + project + lift + reduce(DIM),
        "RBD independent": gradient + project + workers * lift + gather(DIM),
        "RBD split": gradient + project + lift + gather(DIM / workers),
    }


def draw(times: dict[str, float], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(NETWORKS), figsize=(13, 4), sharey=True)
    for axis, (name, network) in zip(axes, NETWORKS.items(), strict=True):
        for way in step_times(times, 1, *network):
            seconds = [step_times(times, k, *network)[way] for k in WORKERS]
            axis.loglog(WORKERS, seconds, marker=".", label=way)
        axis.set_title(name)
        axis.set_xlabel("workers K")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("modelled seconds a step")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def throughput(method: str, processes: int, options: Any, folder: Path) -> float:
    """Examples a second in the last epoch."""
    out = folder / f"{method}-{processes}-{len(list(folder.iterdir()))}"
    words = ["run", method, "--model", options.model, "--batch-size", "128"]
    words += ["--epochs", str(options.epochs)]
    words += ["--dataset", options.dataset, "--out", str(out)]
    words += ["--data-dir", options.data_dir] if options.data_dir else []
    command = [sys.executable, "-m", "subspace_cli"]
    if processes > 1:
        command += ["launch", "--processes", str(processes), "--devices-per-process", "1", "--"]
    elif options.cores == 1 and hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", "0", *command]
    subprocess.run([*command, *words], check=True, capture_output=True)
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["examples_per_second"]


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.set_defaults(repeats=3)
    arguments.add_argument("--dataset", default="digits")
    arguments.add_argument("--data-dir")
    arguments.add_argument("--model", default="resnet8")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--plot", type=Path)
    arguments.add_argument("--cores", type=int, default=1, help="of the single process: 1, or all")
    options = arguments.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for method in ("sgd", "rbd"):
            one, two = [], []
            for _ in range(options.repeats):
                one.append(throughput(method, 1, options, Path(name)))
                two.append(throughput(method, 2, options, Path(name)))
            ratio, low, high = measure.ratio(two, one)
            rows.append(
                {
                    "method": method,
                    "1 process, examples/s": sorted(one)[len(one) // 2],
                    "2 processes": sorted(two)[len(two) // 2],
                    "ratio": ratio,
                    "lowest": low,
                    "highest": high,
                }
            )
    measure.show(
        f"2 processes beside 1: {options.model} on {options.dataset}, batch 128", rows, options.json
    )
    times = compute_times(15)
    if options.plot:
        draw(times, options.plot)
    table = [
        {"network": name, "workers": k}
        | {way: 1e3 * s for way, s in step_times(times, k, *network).items()}
        for name, network in NETWORKS.items()
        for k in (1, 16, 256, 4096)
    ]
    measure.show("Modelled milliseconds a step", table, options.json)


if __name__ == "__main__":
    main()
