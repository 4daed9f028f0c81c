"""Is one basis as good as another? Networks trained with each, everything else the same.

    python benchmarks/basis_quality.py --models fc --dataset fashion_mnist --data-dir DIR \
        --epochs 5 --log runs.jsonl

A line for every run goes to the log, which a run that starts again goes on with; a table of test
accuracy, mean and standard deviation over seeds, is printed at the end. Batch 32, no augmentation,
constant learning rates from those of `subspace list`, the same for every basis: with error feedback
as they are, half of it below 250 directions, as fewer follow a gradient later; without it 4 times,
and 8 times below 250, as the papers' are for a hundred epochs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax

from subspace import models, rbd
from subspace.data.augment import prepare
from subspace.data.dataset import Dataset, load
from subspace.methods import METHODS, rates

BATCH = 32
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "error feedback": {"error_feedback": True},
    "strong": dict(METHODS["rbd"].presets["strong"]),
}


def learning_rate(kind: str, model: str, dataset: str, dim: int) -> float:
    method = "rbd" if kind == "plain" else "rbd+feedback"
    rate = rates.learning_rate(method, model, dataset).learning_rate
    if kind == "plain":
        return rate * (4 if dim >= 250 else 8)
    return rate if dim >= 250 else rate / 2


class Setting:
    """One network with one optimizer; its programs are compiled once for all seeds."""

    def __init__(self, data: Dataset, model: str, dim: int, kind: str, basis: str, rate: float):
        built, self.state = models.build(model, data.shape, data.outputs, key=jax.random.key(0))
        _, self.static = eqx.partition(built, eqx.is_inexact_array)
        self.data, self.model = data, model
        self.make = lambda params, seed: rbd(
            params, rate, dim=dim, basis=basis, seed=seed, **KINDS[kind]
        )
        self.images, self.labels = map(jnp.asarray, data.train)
        self.step = jax.jit(self._step, donate_argnums=0)
        self.scores = jax.jit(self._scores)

    def _scores(self, params: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        logits, _ = models.apply(eqx.combine(params, self.static), self.state, prepare(images))
        entropies = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return entropies.mean(), (logits.argmax(-1) == labels).mean()

    def _step(self, carry: Any, images: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
        params, opt_state = carry
        optimizer = self.make(params, 0)  # the seed of a run is in its state
        batch = images[rows], labels[rows]
        (loss, _), grads = jax.value_and_grad(self._scores, has_aux=True)(params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def train(self, seed: int, epochs: int) -> dict[str, float]:
        key = jax.random.key(seed)
        built, _ = models.build(self.model, self.data.shape, self.data.outputs, key=key)
        params = eqx.filter(built, eqx.is_inexact_array)
        carry, order = (params, self.make(params, seed).init(params)), np.random.default_rng(seed)
        losses = []
        for _ in range(epochs):
            rows = order.permutation(len(self.labels)).astype(np.int32)
            losses = []
            for batch in rows[: len(rows) // BATCH * BATCH].reshape(-1, BATCH):
                carry, loss = self.step(carry, self.images, self.labels, batch)
                losses.append(loss)
        images, labels = self.data.test
        parts = [
            float(self.scores(carry[0], images[i : i + 1000], labels[i : i + 1000])[1])
            for i in range(0, len(labels) // 1000 * 1000, 1000)
        ]
        return {
            "loss": float(np.mean(jax.device_get(losses))),
            "test": 100 * statistics.mean(parts),
        }


def table(lines: list[dict[str, Any]], bases: list[str]) -> list[dict[str, Any]]:
    """A row for each setting, a column for each basis."""
    shared = ("model", "dataset", "kind", "dim", "rate", "epochs")
    rows: dict[Any, dict[str, Any]] = {}
    for line in lines:
        key = tuple(line[name] for name in shared)
        rows.setdefault(key, {}).setdefault(line["basis"], []).append(line)
    found = []
    for key, each in rows.items():
        row: dict[str, Any] = dict(zip(shared, map(str, key), strict=True))
        for basis in bases:
            tests = [line["test"] for line in each.get(basis, [])]
            losses = [line["loss"] for line in each.get(basis, [])]
            spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
            row[basis] = f"{statistics.mean(tests):.1f} ± {spread:.1f}" if tests else ""
            row[f"{basis}, loss"] = f"{statistics.mean(losses):.4f}" if losses else ""
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bases", nargs="+", default=["hadamard", "countsketch"])
    parser.add_argument("--models", nargs="+", default=["fc"])
    parser.add_argument("--dims", nargs="+", type=int, default=[25, 250])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    data = load(options.dataset, data_dir=options.data_dir)
    lines = (
        [json.loads(line) for line in options.log.read_text().splitlines()]
        if (options.log.exists())
        else []
    )
    grid = itertools.product(options.models, options.dims, options.kinds, options.bases)
    for model, dim, kind, basis in grid:
        rate = learning_rate(kind, model, options.dataset, dim)
        setting = None
        for seed in range(options.seeds):
            line = {"model": model, "dataset": options.dataset, "kind": kind, "dim": dim}
            line |= {"basis": basis, "rate": rate, "epochs": options.epochs, "seed": seed}
            if any(line.items() <= one.items() for one in lines):
                continue
            setting = setting or Setting(data, model, dim, kind, basis, rate)
            lines.append(line | setting.train(seed, options.epochs))
            with options.log.open("a") as log:
                log.write(json.dumps(lines[-1]) + "\n")
            print(lines[-1], file=sys.stderr)
    measure.show("Test accuracy, %", table(lines, options.bases), as_json=False)


if __name__ == "__main__":
    main()
