"""How random directions are shared out among the compartments of a tree of parameters."""

from __future__ import annotations

from typing import final

import equinox as eqx
from jaxtyping import PyTree

from subspace.basis.base import AbstractBasis
from subspace.errors import InvalidInput, one_of
from subspace.spaces.allocate import allocate
from subspace.spaces.partition import Label, Partition, divide

SCALES = ("unit", "paper")
_LARGEST = 2**31 - 1  # parameters of a compartment: places are 32-bit numbers


@final
class Allotment(eqx.Module):
    """How many directions each compartment has, and how long they are; holds no arrays.

    Attributes:
        partition: the compartments.
        dims: directions of each, in the partition's order.
        scales: their lengths.
    """

    partition: Partition = eqx.field(static=True)
    dims: tuple[int, ...] = eqx.field(static=True)
    scales: tuple[float, ...] = eqx.field(static=True)

    @staticmethod
    def of(
        params: PyTree,
        basis: AbstractBasis,
        *,
        dim: int,
        compartments: str | Label | Partition,
        rule: str,
        scale: str,
    ) -> Allotment:
        """Arguments and errors are those of `subspace.RandomSubspace`; ``rule`` allocates."""
        partition = divide(params, compartments)
        for name, size in partition.sizes.items():
            if size > _LARGEST:
                raise InvalidInput(
                    "compartments",
                    f"{name!r} has {size} parameters, more than the {_LARGEST} that are counted; "
                    "divide them, by compartments='leaf' or 'even:K'",
                )
        dims = allocate(partition.sizes, dim, rule)
        return Allotment(partition, tuple(dims.values()), _scales(scale, partition.sizes, basis))

    def scaled(self, by: float) -> Allotment:
        """All directions ``by`` times as long."""
        return Allotment(self.partition, self.dims, tuple(by * have for have in self.scales))

    def share(self, count: int) -> Allotment:
        """1/count of the directions of each compartment.

        Raises:
            InvalidInput: the dimensions of a compartment can't be divided so.
        """
        for name, d, _ in self.compartments():
            if d % count:
                raise InvalidInput(
                    "dim",
                    f"the {d} dimensions of compartment {name!r} can't be divided among {count} "
                    f"workers; use a multiple of {count}",
                )
        return Allotment(self.partition, tuple(d // count for d in self.dims), self.scales)

    def compartments(self) -> list[tuple[str, int, float]]:
        """Name, directions and their length, of each."""
        return list(zip(self.partition.sizes, self.dims, self.scales, strict=True))


def _scales(scale: str, sizes: dict[str, int], basis: AbstractBasis) -> tuple[float, ...]:
    """The factor on each compartment's unit directions."""
    if one_of("scale", scale, SCALES) == "unit":
        return (1.0,) * len(sizes)
    total = sum(sizes.values())
    return tuple(basis.entry_rms * (q / total) ** 0.5 for q in sizes.values())
