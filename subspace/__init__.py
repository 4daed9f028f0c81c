"""Train neural networks in low-dimensional subspaces, in JAX."""

from __future__ import annotations

from subspace import data, methods, models, tasks
from subspace.basis import (
    AbstractRowBasis,
    BernoulliPaper,
    Coordinate,
    CountSketch,
    Hadamard,
    Normal,
    Rademacher,
    Sparse,
    Uniform,
)
from subspace.basis.base import AbstractBasis
from subspace.errors import InvalidInput
from subspace.methods.natural import hylo, kfac, sngd
from subspace.methods.random import fpd, nes, rbd, rbd_in_law, sgd
from subspace.methods.trajectory import p_bfgs, p_newton, p_plus_bfgs, p_sgd, twa
from subspace.natural.scale_by_curvature import scale_by_curvature
from subspace.optim.estimators import AbstractEstimator, Backprop, Evolution
from subspace.optim.exchange import AbstractExchange, Alone, Gather, Mean
from subspace.optim.in_subspace import SubspaceState, in_subspace
from subspace.optim.local import local_params, local_steps
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.curved import CurvedSubspace
from subspace.spaces.factored import FactoredSubspace
from subspace.spaces.joint import JointSubspace
from subspace.spaces.partition import Partition
from subspace.spaces.random import RandomSubspace
from subspace.spaces.recent import RecentSubspace
from subspace.spaces.scaled import ScaledSubspace
from subspace.spaces.trajectory import TrajectorySubspace
from subspace.train.callbacks import Callback, Diverged, Progress

# isort: split
from subspace.run.adapter import Adapter, load_adapter, load_pretrained
from subspace.run.api import Result, train  # last: the name is a function's, and a package's

__version__ = "0.1.0"

AbstractProbe = AbstractEstimator  # its name in 0.1.0

__all__ = [
    "AbstractBasis",
    "AbstractEstimator",
    "AbstractExchange",
    "AbstractProbe",
    "AbstractRowBasis",
    "AbstractSubspace",
    "Adapter",
    "Alone",
    "Backprop",
    "BernoulliPaper",
    "Callback",
    "Coordinate",
    "Coords",
    "CountSketch",
    "CurvedSubspace",
    "Diverged",
    "Evolution",
    "FactoredSubspace",
    "Gather",
    "Hadamard",
    "InvalidInput",
    "JointSubspace",
    "Mean",
    "Normal",
    "Partition",
    "Progress",
    "Rademacher",
    "RandomSubspace",
    "RecentSubspace",
    "Result",
    "ScaledSubspace",
    "Sparse",
    "SubspaceState",
    "TrajectorySubspace",
    "Uniform",
    "data",
    "fpd",
    "hylo",
    "in_subspace",
    "kfac",
    "load_adapter",
    "load_pretrained",
    "local_params",
    "local_steps",
    "methods",
    "models",
    "nes",
    "p_bfgs",
    "p_newton",
    "p_plus_bfgs",
    "p_sgd",
    "rbd",
    "rbd_in_law",
    "scale_by_curvature",
    "sgd",
    "sngd",
    "tasks",
    "train",
    "twa",
]
