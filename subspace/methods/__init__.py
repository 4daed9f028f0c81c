"""The methods: each a record of its own fields, and how it builds an Optax transformation.

``METHODS`` has them by name, in the order in which they are listed.
"""

from __future__ import annotations

from subspace.methods.base import METHODS, Context, Method, OnTrajectory, register
from subspace.methods.random import FPD, NES, RBD, SGD, RBDInLaw
from subspace.methods.schedule import Decayed, Rated, Schedule
from subspace.methods.trajectory import DLDR, PBFGS, PSGD, Newton

# isort: split
from subspace.methods.natural import KFAC, SNGD, HyLo  # last, as methods are listed in this order

__all__ = [
    "DLDR",
    "FPD",
    "KFAC",
    "METHODS",
    "NES",
    "PBFGS",
    "PSGD",
    "RBD",
    "SGD",
    "SNGD",
    "Context",
    "Decayed",
    "HyLo",
    "Method",
    "Newton",
    "OnTrajectory",
    "RBDInLaw",
    "Rated",
    "Schedule",
    "register",
]
