"""What a run is: one frozen record, validated in one place, from which the pieces are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import optax
from jaxtyping import PyTree

from subspace import defaults, methods
from subspace.basis import get_basis
from subspace.errors import InvalidInput, lookup
from subspace.exchange import AbstractExchange, Alone
from subspace.methods import METHODS
from subspace.models import MODELS

MAY_CHANGE = frozenset({"epochs", "checkpoint_every", "data_dir"})
"""Fields in which a resumed run may differ from the one it continues."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, apart from where it is written.

    The subspace's fields (``dim`` … ``scale``) are None for a method without a subspace.
    """

    method: str
    dataset: str
    model: str
    dim: int | None
    basis: str | None
    compartments: str | None
    allocate: str | None
    redraw_every: int | None
    scale: str | None
    sigma: float | None
    antithetic: bool | None
    shaping: str | None
    learning_rate: float
    momentum: float
    weight_decay: float
    epochs: int
    batch_size: int
    augment: bool
    validation: float
    seed: int
    checkpoint_every: int
    data_dir: str | None

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> RunConfig:
        """Fills what isn't given with the defaults of the method, model and dataset.

        Args:
            given: fields by name; None means not given.

        Raises:
            InvalidInput: a value that can't be used, or doesn't apply to the method.
        """
        given = {name: value for name, value in given.items() if value is not None}
        method = lookup("method", given.get("method", "rbd"), METHODS)
        model, dataset = given.get("model", "fc"), given.get("dataset", "digits")
        lookup("model", model, MODELS)
        for name in _SUBSPACE.keys() & given.keys() - method.options:
            raise InvalidInput(name, f"does not apply to {method.name}; leave it out")
        values = {name: _SUBSPACE[name] for name in method.options} | {
            "method": method.name,
            "model": model,
            "dataset": dataset,
            "learning_rate": defaults.learning_rate(method.name, model, dataset).learning_rate,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "epochs": defaults.epochs(dataset),
            "batch_size": 32,
            "augment": defaults.augment(dataset),
            "validation": 0.1,
            "seed": 0,
            "checkpoint_every": 1,
        }
        values |= given
        config = cls(**{field.name: values.get(field.name) for field in fields(cls)})  # pyright: ignore
        config.validate()
        return config

    def validate(self) -> None:
        """Checks every field that can be checked without data."""
        for name in ("dim", "epochs", "batch_size", "checkpoint_every", "redraw_every"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < 2**31:  # steps are counted in 32 bits
                what = "at least 1" if value < 1 else f"below {2**31}"
                raise InvalidInput(name, f"must be {what}, got {value}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InvalidInput(
                "learning_rate", f"must be a positive number, got {self.learning_rate}"
            )
        if not 0 <= self.momentum < 1:
            raise InvalidInput("momentum", f"must be at least 0 and below 1, got {self.momentum}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InvalidInput("weight_decay", f"must be 0 or more, got {self.weight_decay}")
        if not 0 <= self.validation < 1:
            raise InvalidInput(
                "validation",
                f"is a fraction of the training split, 0 up to 1, got {self.validation}",
            )
        if not 0 <= self.seed < 2**32:
            raise InvalidInput("seed", f"must be between 0 and 4294967295, got {self.seed}")
        if self.basis is not None:
            get_basis(self.basis)

    def optimizer(
        self,
        params: PyTree,
        exchange: AbstractExchange = Alone(),  # noqa: B008 (immutable)
    ) -> optax.GradientTransformationExtraArgs:
        """The method as an Optax transformation.

        Raises:
            InvalidInput: the subspace doesn't fit the parameters.
        """
        method = METHODS[self.method]
        options = {name: getattr(self, name) for name in method.options}
        if method.options:
            options["seed"] = self.seed
        step = method.build(
            params, self.learning_rate, momentum=self.momentum, exchange=exchange, **options
        )
        if not self.weight_decay:
            return step
        return methods.chain(optax.add_decayed_weights(self.weight_decay), step)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_json`.

        Raises:
            InvalidInput: a field is missing or unknown, or its value can't be used.
        """
        expected = {field.name for field in fields(cls)}
        if record.keys() != expected:
            odd = ", ".join(sorted(record.keys() ^ expected))
            raise InvalidInput("resume", f"config.json is damaged or of another version: {odd}")
        config = cls(**record)
        config.validate()
        return config


_SUBSPACE: dict[str, Any] = {
    "dim": 250,
    "basis": "hadamard",
    "compartments": "whole",
    "allocate": "same",
    "redraw_every": 1,
    "scale": "unit",
    "sigma": 0.01,
    "antithetic": False,
    "shaping": "ranks",
}
