"""Time of the curvature part of natural gradients against layer width and batch.

    python benchmarks/hylo.py [--json] [--repeats 3] [--widths 64,256,...] [--batches 32,128,...]

One dense layer of so many inputs and outputs, with a bias. "refresh": from captured rows to the
factor, every ``--refresh`` steps of a run; "step": from a gradient to the preconditioned one. KID
and KIS keep a tenth of the rows; with a memory, those of 20 refreshes are used. "KiB exchanged":
what each worker contributes to a refresh, as the tests of the compiled program hold it, besides the
gradient. "over" is K-FAC's time in the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import jax
import measure

from subspace.natural.capture import Rows
from subspace.natural.curvature import AbstractLayerwise, Seen
from subspace.natural.kronecker import Kronecker
from subspace.natural.lowrank import LowRank
from subspace.natural.memory import Memory
from subspace.optim.workers import OneWorker

RANK, DAMPING, MEMORY = 0.1, 0.3, 20


def rows_kept(batch: int) -> int:
    return max(1, round(RANK * batch))


def curvatures(batch: int) -> dict[str, AbstractLayerwise]:
    kept = rows_kept(batch)
    return {
        "kfac": Kronecker(DAMPING),
        "sngd": LowRank(DAMPING, "sngd", batch, batch),
        "kid": LowRank(DAMPING, "kid", kept, batch),
        "kis": LowRank(DAMPING, "kis", kept, batch),
        "kid, memory": Memory(LowRank(DAMPING, "kid", kept, batch), MEMORY),
    }


def numbers(name: str, batch: int, a: int, b: int) -> int:
    """What workers exchange in a refresh."""
    kept = rows_kept(batch)
    return {
        "kfac": a**2 + b**2,
        "sngd": batch * (a + b),
        "kid": batch + kept * (a + b) + kept**2,
        "kis": batch + kept * (a + b),
    }[name.split(",")[0]]


def make_work(width: int, batch: int) -> dict[str, Callable[[], Any]]:
    a, b, keys = width + 1, width, jax.random.split(jax.random.key(0), 3)
    rows = Rows(jax.random.normal(keys[0], (batch, a)), jax.random.normal(keys[1], (batch, b)))
    gradient = rows.inputs.T @ rows.outputs / batch
    work: dict[str, Callable[[], Any]] = {}
    for name, curvature in curvatures(batch).items():

        def renew(previous: Any, rows: Rows, curvature: AbstractLayerwise = curvature) -> Any:
            return curvature.next_factor(
                previous, curvature.measure(Seen(rows, keys[2], OneWorker()))
            )

        renew, step = jax.jit(renew), jax.jit(curvature.precondition)
        factor = renew(curvature.first_factor(a, b), rows)
        work[f"{name}:refresh"] = lambda renew=renew, factor=factor: renew(factor, rows)
        work[f"{name}:step"] = lambda step=step, factor=factor: step(factor, gradient)
    return work


def measured(width: int, batch: int, repeats: int) -> list[dict[str, Any]]:
    """A line for each method."""
    figures = measure.interleaved(make_work(width, batch), repeats, seconds=0.05)
    table = []
    for name in curvatures(batch):
        line: dict[str, Any] = {"width": width, "batch": batch, "method": name}
        for part in ("refresh", "step"):
            seconds = figures[f"{name}:{part}"]
            line[f"{part}, ms"] = 1e3 * statistics.median(seconds)
            line[f"over {part}"] = measure.ratio(figures[f"kfac:{part}"], seconds)[0]
        exchanged = numbers(name, batch, width + 1, width)
        table.append(line | {"KiB exchanged": 4 * exchanged / 1024})
    return table


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.set_defaults(repeats=3)
    arguments.add_argument("--widths", default="64,256,1024,4096")
    arguments.add_argument("--batches", default="32,128,512")
    options = arguments.parse_args()
    widths, batches = (
        [int(text) for text in given.split(",")] for given in (options.widths, options.batches)
    )
    table = [
        line
        for width in widths
        for batch in batches
        for line in measured(width, batch, options.repeats)
    ]
    measure.show("Curvature of one dense layer", table, options.json)


if __name__ == "__main__":
    main()
