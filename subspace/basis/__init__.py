"""Bases of one compartment, by name."""

from __future__ import annotations

from subspace.basis.base import AbstractBasis
from subspace.basis.coordinate import Coordinate, Sparse
from subspace.basis.countsketch import CountSketch
from subspace.basis.dense import BernoulliPaper, Normal, Rademacher, Uniform
from subspace.basis.hadamard import Hadamard
from subspace.basis.rows import AbstractRowBasis
from subspace.errors import lookup

BASES: dict[str, tuple[AbstractBasis, str]] = {
    "countsketch": (CountSketch(), "each parameter in one direction, random signs; O(n), one pass"),
    "hadamard": (Hadamard(), "orthonormal rows by fast Hadamard transforms, O(n log n) at any d"),
    "normal": (Normal(), "Gaussian rows, the paper's choice"),
    "uniform": (Uniform(), "rows uniform on [-1, 1]"),
    "rademacher": (Rademacher(), "rows of random signs, one bit an entry"),
    "coordinate": (Coordinate(), "d random parameters"),
    "sparse": (Sparse(), "rows with √n random signs"),
    "bernoulli_paper": (BernoulliPaper(), "entries 0.5 or -1.5, as the RBD code has it (Table 2)"),
}

DEFAULT = "countsketch"
"""As good as hadamard where both were measured, and one pass over memory instead of dozens."""


def get_basis(basis: str | AbstractBasis) -> AbstractBasis:
    """The basis of that name, or the object itself.

    Raises:
        InvalidInput: no basis has this name.
    """
    if isinstance(basis, AbstractBasis):
        return basis
    return lookup("basis", basis, BASES)[0]


__all__ = [
    "BASES",
    "DEFAULT",
    "AbstractRowBasis",
    "BernoulliPaper",
    "Coordinate",
    "CountSketch",
    "Hadamard",
    "Normal",
    "Rademacher",
    "Sparse",
    "Uniform",
    "get_basis",
]
