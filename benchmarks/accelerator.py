"""What a step of every method costs on whatever device JAX finds: one command, under 8 minutes.

    python benchmarks/accelerator.py [--out FILE] [--minutes 6.5] [--large 100000000] [--quick]

Each case takes turns with the first one of its table (`sections.Section` describes the columns),
and its line is written as soon as it is there, so that a killed run leaves what it had. A table
that runs out of its share of the time says which cases it didn't come to; what it leaves over is
the next ones'. No case begins after ``--minutes``. On a CPU large networks get small batches, and
what would take it minutes is left out. ``--quick`` makes everything small, to try the program.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import measure
import optax
import steps
from sections import Case, Rounds, Section

from subspace import models

IMAGES = (32, 32, 3)
DRAWN, EVALUATED = 5e7, 2.5e9
"""What a CPU can do in a step: numbers drawn, and parameters times examples in forward passes."""


class Network(NamedTuple):
    """A network, its batch size anywhere and on a CPU, and its share of the time."""

    model: str
    shape: tuple[int, int, int]
    batch: int
    cpu_batch: int
    share: float

    @property
    def here(self) -> int:
        return self.cpu_batch if on_cpu() else self.batch

    @property
    def size(self) -> int:
        return models.size(self.model, self.shape, steps.CLASSES)

    def problem(self) -> steps.Problem:
        return steps.problem(self.model, self.shape, self.here)

    def __str__(self) -> str:
        sides = "×".join(map(str, self.shape))
        return f"{self.model}, {sides}, batch {self.here:,}, D = {self.size:,}"


class Sizes(NamedTuple):
    """What ``--quick`` changes. The first network is the generation's too."""

    networks: tuple[Network, ...]
    dim: int
    large: int
    leaves: int
    minutes: float
    rounds: Rounds


FULL = Sizes(
    (
        Network("fc", (28, 28, 1), 32, 32, 12),
        Network("cnn", IMAGES, 32, 32, 14),
        Network("cnn", IMAGES, 1024, 256, 14),
        Network("vit", IMAGES, 128, 8, 18),
        Network("resnet18", IMAGES, 128, 4, 20),
    ),
    steps.DIM,
    10**8,
    50,
    6.5,
    Rounds(),
)
QUICK = Sizes(
    (Network("fc", (4, 4, 1), 4, 4, 30), Network("cnn", (18, 18, 1), 2, 2, 0)),
    8,
    10_000,
    3,
    0.15,
    Rounds(3, 0.001, 0.5),
)


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def training(network: Network, dim: int, rounds: Rounds) -> Section:
    """Whole steps of every method, and the gradient alone, over SGD's steps."""

    def case(name: str, make: steps.Make, skip: str = "") -> Case:
        return Case(name, lambda: network.problem().training(make), skip, steps.trials)

    def too_many(work: float, most: float, what: str) -> str:
        return f"{work:.1g} {what} a step, too many for a CPU" if on_cpu() and work > most else ""

    makes = steps.of_default(dim) | {f"pbfgs, d = {steps.DIRECTIONS}": steps.p_bfgs}
    makes |= steps.in_bases(dim, rows=False)
    cases = [case("sgd", steps.sgd), Case("gradient", lambda: network.problem().gradient())]
    cases += [case(name, make) for name, make in makes.items()]
    drawn = steps.in_bases(dim, rows=True)
    skip = too_many(dim * network.size, DRAWN, "random numbers")
    cases += [case(name, make, skip) for name, make in drawn.items()]
    skip = too_many(dim * network.size * network.here, EVALUATED, "parameters × examples")
    cases.append(case(f"nes, {dim} offspring", steps.nes(dim), skip))
    return Section(f"Training steps: {network}", 4 * network.size, cases, rounds)


def updates(large: int, leaves: int, dim: int, rounds: Rounds) -> Section:
    """A gradient that is there, so large that nothing else matters, over `optax.sgd`."""
    size = large // leaves

    def case(name: str, make: steps.Make) -> Case:
        return Case(name, lambda: steps.update(tree(1.0), tree(1e-3), make))

    def tree(value: float) -> list[jax.Array]:
        return [jnp.full(size, value) for _ in range(leaves)]

    cases = [case("optax.sgd", lambda params: optax.sgd(steps.RATE))]
    makes = steps.of_default(dim) | steps.in_bases(dim, rows=False)
    cases += [case(name, make) for name, make in makes.items()]
    what = "a single vector" if leaves == 1 else f"{leaves} equal leaves"
    title = f"Update and apply: {what}, D = {size * leaves:,}"
    return Section(title, 4 * size * leaves, cases, rounds)


def generation(network: Network, dim: int, rounds: Rounds) -> Section:
    """A step of evolution strategies over as many separate forward passes."""
    cases = [
        Case(f"{dim} forward passes", lambda: network.problem().forwards(dim)),
        Case(f"nes, {dim} offspring", lambda: network.problem().training(steps.nes(dim))),
    ]
    return Section(f"A generation: {network}", 4 * network.size, cases, rounds)


def planned(sizes: Sizes) -> Iterator[tuple[float, Callable[[], Section]]]:
    """What is measured in turn, and its share of the time."""
    first, *others = sizes.networks
    rest = (sizes.dim, sizes.rounds)
    yield first.share, partial(training, first, *rest)
    yield 4, partial(generation, first, *rest)
    for leaves in (1, sizes.leaves):
        yield 9, partial(updates, sizes.large, leaves, *rest)
    for network in others:
        yield network.share, partial(training, network, *rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="written line by line; else it is printed only")
    parser.add_argument("--minutes", type=float, help="after which no case begins")
    parser.add_argument("--large", type=int, help="parameters of the updates alone")
    parser.add_argument("--quick", action="store_true", help="everything small")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name in ("minutes", "large")}
    sizes = sizes._replace(**{name: value for name, value in given.items() if value is not None})
    report = measure.Report(f"Steps on {measure.device()}", options.out)
    start = time.perf_counter()
    shares, sections = zip(*planned(sizes), strict=True)
    for until, section in zip(accumulate(shares), sections, strict=True):
        found = section()
        report.table(found.title, found.columns)
        for row in found.rows(start + 60 * sizes.minutes * until / sum(shares)):
            report.row(row)
    report.write(f"\n{time.perf_counter() - start:.0f} seconds in all.")


if __name__ == "__main__":
    main()
