"""What a subspace's step costs over SGD's: small networks, updates alone, generations, compiling.

    python benchmarks/step_overhead.py [--large 100000000] [--only "FC;CNN"] [--repeats 15] [--json]

Every case takes turns with the first one of its table; medians of the clock, and the least CPU time
of all cores together, which other work on the machine disturbs less (`sections.Section` describes
the columns). "temporary" is what the compiled step holds besides its arguments and results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import measure
import steps
from accelerator import Network, generation, updates
from sections import Case, Rounds, Section

from subspace.basis import BASES

FC = Network("fc", (28, 28, 1), 32, 32, 0)
CNN = Network("cnn", (32, 32, 3), 32, 32, 0)
DIMS = (25, 2500)


def networks(network: Network, makes: dict[str, steps.Make], rounds: Rounds) -> Section:
    """Training steps over SGD's."""

    def case(name: str, make: steps.Make) -> Case:
        return Case(name, lambda: network.problem().training(make))

    cases = [case(name, make) for name, make in ({"sgd": steps.sgd} | makes).items()]
    return Section(f"Training steps: {network}", 4 * network.size, cases, rounds)


def of_cnn() -> dict[str, steps.Make]:
    """The default basis with fewer and more directions, and every basis with 250."""
    fewer, more = ({f"rbd, d = {dim:,}": steps.rbd(dim=dim)} for dim in DIMS)
    bases = {f"rbd, {name}": steps.rbd(dim=steps.DIM, basis=name) for name in BASES}
    return {f"rbd, {steps.DEFAULT}": bases[f"rbd, {steps.DEFAULT}"]} | fewer | more | bases


def measured(make: Callable[[Rounds], Section], options: Any) -> None:
    section = make(Rounds(options.repeats, 0.1, 60.0))
    rows = list(section.rows(math.inf))
    empty = dict.fromkeys(section.columns, "")
    measure.show(section.title, [empty | row for row in rows], options.json)


def compiling(options: Any) -> None:
    """Seconds from a call to a program, for updates of equal leaves, each a compartment."""
    rows = []
    for count in (200, 800):
        leaves = {f"leaf{i}": jnp.ones((32, 32)) for i in range(count)}
        make = steps.rbd(dim=16, compartments="leaf")
        cpu = time.process_time()
        program = steps.update(leaves, leaves, make)
        rows.append(
            {
                "leaves of 32×32": count,
                "compilation, s": program.seconds,
                "with the state's, CPU s": time.process_time() - cpu,
            }
        )
    measure.show("Compilation, compartments='leaf', d = 16 each", rows, options.json)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--large", type=int, default=10**8, help="parameters of updates alone")
    parser.add_argument("--only", help="tables, with semicolons between them")
    options = parser.parse_args()
    dim, large = steps.DIM, options.large
    tables: dict[str, Callable[[Any], None]] = {
        "FC": partial(measured, partial(networks, FC, steps.of_default(dim))),
        "CNN": partial(measured, partial(networks, CNN, of_cnn())),
        "vector": partial(measured, lambda rounds: updates(large, 1, dim, rounds)),
        "leaves": partial(measured, lambda rounds: updates(large, 50, dim, rounds)),
        "generation": partial(measured, lambda rounds: generation(FC, dim, rounds)),
        "compilation": compiling,
    }
    for name in measure.chosen(options.only, tables):
        tables[name](options)
        print()


if __name__ == "__main__":
    main()
