"""What the methods in random subspaces share: where the subspace lies, and of what it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, PyTree

from subspace.basis import BASES, DEFAULT
from subspace.basis.base import AbstractBasis
from subspace.errors import InvalidInput
from subspace.methods.base import Exchanging, Method
from subspace.options import fields_of, option
from subspace.spaces.adapter import RANK
from subspace.spaces.allocate import ALLOCATIONS
from subspace.spaces.allotment import SCALES
from subspace.spaces.base import AbstractSubspace
from subspace.spaces.factored import FactoredSubspace
from subspace.spaces.partition import Label, Partition
from subspace.spaces.random import DIM, RandomSubspace
from subspace.spaces.scaled import ScaledSubspace


@dataclass(frozen=True, kw_only=True)
class InCompartments(Method):
    """A method with d directions for each compartment."""

    dim: int = option(DIM, "Subspace dimension d.", least=1)
    compartments: str | Label | Partition = option(
        "whole", "Parameters that share directions: whole, layer, leaf or even:K."
    )
    allocate: str = option("same", "Dimensions of each compartment.", choices=tuple(ALLOCATIONS))


SPACES: dict[str, str | None] = {
    "whole": None,
    "layer": None,
    "factored": "factors",
    "xs": "cores",
}
"""Where a random subspace lies: of those in an adapter, what its numbers are."""


@dataclass(frozen=True, kw_only=True)
class InRandomSubspace(InCompartments, Exchanging):
    """A method in a random subspace, see `subspace.RandomSubspace`."""

    space: str = option(
        "whole",
        "Where it lies: whole, in all parameters; layer, with a scale for each layer (SAID); "
        "factored, in low-rank factors of chosen matrices; xs, between their singular vectors.",
        choices=tuple(SPACES),
    )
    basis: str | AbstractBasis = option(
        DEFAULT,
        "Kind of random directions; `subspace list bases` describes them.",
        choices=lambda: BASES,
    )
    scale: str = option("unit", "Length of the directions: unit, or paper.", choices=SCALES)
    rank: int = option(RANK, "Of the factors, or cores, of a matrix.", least=1, most=2**15)
    targets: str | None = option(
        None,
        "Matrices to factor, by name: patterns between commas, such as *query*,*value*.",
        shown="queries and values, or all",
    )
    direct: str | None = option(
        None,
        "Parameters beside them that are changed number by number, by name.",
        shown="head.*, or the last layer",
    )

    def __post_init__(self):
        super().__post_init__()
        _check_space(self)

    def subspace(
        self, params: PyTree, seed: int | Array, redraw_every: int | None
    ) -> AbstractSubspace:
        """The first chart."""
        shared: dict[str, Any] = {
            "dim": self.dim,
            "basis": self.basis,
            "redraw_every": redraw_every,
            "seed": seed,
        }
        kind = SPACES[self.space]
        if kind is not None:
            located = {"rank": self.rank, "targets": self.targets, "direct": self.direct}
            return FactoredSubspace(params, kind=kind, **located, **shared)
        shared |= {"compartments": self.compartments, "allocate": self.allocate}
        if self.space == "layer":
            return ScaledSubspace(params, scale=self.scale, **shared)
        return RandomSubspace(params, scale=self.scale, **shared)


def spread_of(space: AbstractSubspace, params: PyTree) -> float:
    """``√(n/d)``: how far d coordinates have to go for a unit direction to move n numbers by one.

    n is D, or of an adapter how many numbers it has.
    """
    numbers = space.largest() or sum(leaf.size for leaf in jax.tree.leaves(params))
    coords: Any = jax.eval_shape(space.origin)
    return math.sqrt(numbers / sum(z.size for z in coords.values()))


def _check_space(method: InRandomSubspace) -> None:
    """Raises InvalidInput if fields of one kind of space are given with another."""
    located = SPACES[method.space] is not None
    fields = fields_of(type(method))
    flat = ("compartments", "allocate", "scale")
    others = flat if located else ("rank", "targets", "direct")
    if method.space == "layer":
        others += flat[:2]
    for name in others:
        if getattr(method, name) != fields[name].default:
            raise InvalidInput(name, f"does not go with space {method.space}; leave it out")
    if method.exchange != "mean" and method.space != "whole":
        raise InvalidInput("exchange", f"goes with space whole, not {method.space}; use mean")
