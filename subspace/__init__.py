"""Train neural networks in low-dimensional subspaces, in JAX."""

from __future__ import annotations

from subspace import models
from subspace.basis import (
    AbstractRowBasis,
    BernoulliPaper,
    Coordinate,
    Hadamard,
    Normal,
    Rademacher,
    Sparse,
    Uniform,
)
from subspace.core import AbstractBasis, AbstractSubspace, Coords
from subspace.errors import InvalidInput
from subspace.exchange import AbstractExchange, Alone, Gather, Mean
from subspace.inlaw import rbd_in_law
from subspace.joint import JointSubspace
from subspace.methods import fpd, nes, rbd, sgd
from subspace.partition import Partition
from subspace.probe import AbstractProbe, Backprop, Evolution
from subspace.projected import p_bfgs, p_newton, p_plus_bfgs, p_sgd
from subspace.random import RandomSubspace
from subspace.recent import RecentSubspace
from subspace.trajectory import TrajectorySubspace
from subspace.transform import SubspaceState, in_subspace

__version__ = "0.1.0"

__all__ = [
    "AbstractBasis",
    "AbstractExchange",
    "AbstractProbe",
    "AbstractRowBasis",
    "AbstractSubspace",
    "Alone",
    "Backprop",
    "BernoulliPaper",
    "Coordinate",
    "Coords",
    "Evolution",
    "Gather",
    "Hadamard",
    "InvalidInput",
    "JointSubspace",
    "Mean",
    "Normal",
    "Partition",
    "Rademacher",
    "RandomSubspace",
    "RecentSubspace",
    "Sparse",
    "SubspaceState",
    "TrajectorySubspace",
    "Uniform",
    "fpd",
    "in_subspace",
    "models",
    "nes",
    "p_bfgs",
    "p_newton",
    "p_plus_bfgs",
    "p_sgd",
    "rbd",
    "rbd_in_law",
    "sgd",
]
