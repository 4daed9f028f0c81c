"""The methods by name, as the command line and run configurations know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optax
from jaxtyping import PyTree

from subspace.errors import InvalidInput
from subspace.methods.natural import hylo, kfac, sngd
from subspace.methods.random import fpd, nes, rbd, rbd_in_law, sgd
from subspace.methods.trajectory import p_newton, p_plus_bfgs, p_sgd


@dataclass(frozen=True)
class Method:
    """A method, which of a phase's fields apply to it, and their defaults.

    Attributes:
        build: ``build(target, **arguments)``; the target is the parameters, or the subspace for a
            method on a trajectory.
        description: one line for people.
        arguments: fields that `build` takes by keyword.
        settings: fields that others look after.
        context: what else `build` takes by keyword of what a phase knows: ``seed``,
            ``batch_size``, ``steps`` of an epoch, ``milestones``.
        on_trajectory: it needs the trajectory of an earlier phase or run.
        presets: fields that go well together, by a name for them.
    """

    name: str
    build: Callable[..., optax.GradientTransformationExtraArgs]
    description: str
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    context: tuple[str, ...] = ()
    on_trajectory: bool = False
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Every field that applies, with its default; None: it depends on more than the method."""
        return {**self.arguments, **self.settings}


_SAMPLES = {"sample_every": None, "half_samples": None}
_RATE = {"learning_rate": None, "momentum": 0.0}
_FULL = {"weight_decay": 0.0, "milestones": (), **_SAMPLES}
_FIXED = _RATE | {
    "dim": 250,
    "basis": "hadamard",
    "compartments": "whole",
    "allocate": "same",
    "scale": "unit",
}
_DRAWN = _FIXED | {"redraw_every": 1}
_RBD = _DRAWN | {"error_feedback": False, "recent": 0, "in_law": False}
_SHARED = {"exchange": "mean", "combine": "sum", "log_coordinates": False}
_NES = _DRAWN | {
    "sigma": 0.01,
    "antithetic": False,
    "shaping": "ranks",
    "separate_batches": False,
}
_DIRECTIONS = ("seed",)
_CHART = {"dim": 15, "start": None, **_SAMPLES}
_SECOND_ORDER = _CHART | {"epochs": 20, "batch_size": 1024}
_SAMPLING = {
    "weight_decay": 1e-4,
    "milestones": (100, 150),
    "sample_every": "epoch",
    "half_samples": None,
    "epochs": 30,
    "batch_size": 128,
}
_BFGS = {
    "pairs": "shared",
    "damping": 0.2,
    "on_failure": "stay",
    "initial_scaling": True,
    "alpha": 0.0,
    "momentum": 0.9,  # outside the subspace, with alpha
}

_NATURAL = _RATE | {"momentum": 0.9, "damping": 0.3, "refresh": 100}

_LAW = {"basis": "normal", "scale": "unit", "redraw_every": 1, "error_feedback": False, "recent": 0}


def _rbd(params: PyTree, *, in_law: bool, **options: Any) -> optax.GradientTransformationExtraArgs:
    """`rbd`, or the law of it."""
    if not in_law:
        return rbd(params, **options)
    for name, only in _LAW.items():
        if options.pop(name) != only:
            raise InvalidInput("in_law", f"goes with {name}={only} only")
    return rbd_in_law(params, **options)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("sgd", sgd, "plain SGD on all D parameters: the yardstick", _RATE, _FULL),
        Method(
            "rbd",
            _rbd,
            "SGD in a random subspace, new every step",
            _RBD,
            _FULL | _SHARED,
            _DIRECTIONS,
            presets={"strong": {"error_feedback": True, "recent": 3}},
        ),
        Method(
            "fpd",
            fpd,
            "SGD in one random subspace, fixed for the whole run",
            _FIXED,
            _FULL | _SHARED,
            _DIRECTIONS,
        ),
        Method(
            "nes",
            nes,
            "evolution strategies in a random subspace, new every step",
            _NES,
            {"milestones": (), **_SAMPLES} | _SHARED,  # weight decay is added to gradients
            _DIRECTIONS,
        ),
        Method(
            "hylo",
            hylo,
            "natural gradients from a few examples of the batch, now and then refreshed",
            _NATURAL | {"rank": 0.1, "selection": "hybrid", "threshold": 0.5, "memory": 1},
            _FULL,
            ("seed", "batch_size", "steps", "milestones"),
        ),
        Method(
            "sngd",
            sngd,
            "natural gradients from all examples of the batch, now and then refreshed",
            _NATURAL,
            _FULL,
            ("batch_size",),
        ),
        Method(
            "kfac",
            kfac,
            "K-FAC: natural gradients from a Kronecker product a layer",
            _NATURAL,
            _FULL,
        ),
        Method(
            "dldr",
            sgd,
            "SGD that records its trajectory, for psgd, pbfgs or newton to build on",
            _RATE | {"momentum": 0.9},
            _SAMPLING,
        ),
        Method(
            "psgd",
            p_sgd,
            "SGD in the principal directions of a trajectory",
            _RATE | {"momentum": 0.9},
            _CHART | {"weight_decay": 0.0, "milestones": (30, 50), "epochs": 40, "batch_size": 128},
            on_trajectory=True,
        ),
        Method(
            "pbfgs",
            p_plus_bfgs,
            "BFGS in the principal directions of a trajectory",
            _BFGS,
            _SECOND_ORDER,
            on_trajectory=True,
        ),
        Method(
            "newton",
            p_newton,
            "damped Newton steps in the principal directions of a trajectory",
            {"damping": 1e-3},
            _SECOND_ORDER,
            on_trajectory=True,
        ),
    )
}
