"""A phase of a run: one method, how long it goes and with what settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax.numpy as jnp
import optax

from subspace.basis import get_basis
from subspace.errors import InvalidInput, lookup
from subspace.methods import rates as defaults
from subspace.methods.registry import METHODS, Method
from subspace.optim.exchange import COMBINE, AbstractExchange, Alone, Gather, Mean
from subspace.optim.in_subspace import chain

EXCHANGES = ("mean", "independent", "split")
STARTS = ("first", "last", "here")
_DECAY = 0.1  # of the learning rate, at each milestone
_MOST = 2**31 - 1  # steps are counted in 32 bits
_COUNTS = ("dim", "epochs", "batch_size", "redraw_every", "refresh", "memory")
_LATER = {"half_samples", "memory"}  # fields that runs of earlier versions don't have


@dataclass(frozen=True)
class Phase:
    """One method's part of a run; a field that doesn't apply to the method is None.

    Attributes:
        milestones: epochs of this phase after which the learning rate is multiplied by 0.1.
        dim: for a method on a trajectory, how many directions, or the fraction below 1 of the
            variance that they explain.
        start: of a method on a trajectory: the ``"first"`` or ``"last"`` sample, or ``"here"``,
            where the phase before it ended.
        exchange: ``"mean"``, ``"independent"`` or ``"split"``, see `subspace.optim.exchange`.
        combine: of independent workers, see `subspace.optim.exchange.Gather`.
        log_coordinates: keep the coordinates of every step in a file, from which `replay` rebuilds
            the weights.
        sample_every: ``"epoch"`` or steps between samples of the parameters, for a later phase to
            build on; None for none.
        half_samples: keep them as float16, in half the space, to three digits.

    The others are arguments of the method, see `subspace.methods.registry.METHODS`.
    """

    method: str
    epochs: int
    batch_size: int
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    milestones: tuple[int, ...] | None = None
    dim: int | float | None = None
    basis: str | None = None
    compartments: str | None = None
    allocate: str | None = None
    redraw_every: int | None = None
    scale: str | None = None
    sigma: float | None = None
    antithetic: bool | None = None
    shaping: str | None = None
    separate_batches: bool | None = None
    error_feedback: bool | None = None
    recent: int | None = None
    in_law: bool | None = None
    exchange: str | None = None
    combine: str | None = None
    log_coordinates: bool | None = None
    start: str | None = None
    pairs: str | None = None
    damping: float | None = None
    on_failure: str | None = None
    initial_scaling: bool | None = None
    alpha: float | None = None
    refresh: int | None = None
    rank: float | None = None
    selection: str | None = None
    threshold: float | None = None
    memory: int | None = None
    sample_every: int | str | None = None
    half_samples: bool | None = None

    @classmethod
    def resolve(cls, given: Mapping[str, Any], *, model: str, dataset: str, start: str) -> Phase:
        """Fills what isn't given with the defaults of the method, model and dataset.

        Args:
            given: fields by name, ``method`` among them; None means not given. ``preset`` names
                defaults of the method that go before its own.
            model, dataset: of the run.
            start: where a method on a trajectory starts by default.

        Raises:
            InvalidInput: a value that can't be used, or doesn't apply to the method.
        """
        given = {name: value for name, value in given.items() if value is not None}
        method = lookup("method", given["method"], METHODS)
        preset = _preset(method, given.pop("preset", None))
        for name in given:
            if name not in {"method", "epochs", "batch_size", *method.options}:
                raise InvalidInput(name, _not_for(method, name))
        values: dict[str, Any] = {"epochs": defaults.epochs(dataset), "batch_size": 32}
        values |= {**method.options, **preset, **given}
        if "learning_rate" in values and values["learning_rate"] is None:
            feedback = bool(values.get("error_feedback"))
            row = defaults.learning_rate(method.name, model, dataset, feedback)
            values["learning_rate"] = row.learning_rate
        if "start" in values and values["start"] is None:
            values["start"] = start
        phase = cls(**values)
        phase.validate()
        return phase

    @property
    def on_trajectory(self) -> bool:
        return METHODS[self.method].on_trajectory

    @property
    def samples(self) -> int | None:
        """Samples it records, the first at its start; None while that depends on the data."""
        if self.sample_every is None:
            return 0
        return self.epochs + 1 if self.sample_every == "epoch" else None

    def validate(self) -> None:
        """Checks every field that can be checked without data."""
        for name in _COUNTS:
            value = getattr(self, name)
            if name == "dim" and self.on_trajectory and 0 < value < 1:
                continue
            if value is not None and not (isinstance(value, int) and 1 <= value < 2**31):
                what = f"below {2**31}" if value >= 2**31 else "a whole number, at least 1"
                raise InvalidInput(name, f"must be {what}, got {value}")
        for name in ("weight_decay", "alpha"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidInput(name, f"must be 0 or more, got {value}")
        rate, momentum = self.learning_rate, self.momentum
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InvalidInput("learning_rate", f"must be a positive number, got {rate}")
        if momentum is not None and not 0 <= momentum < 1:
            raise InvalidInput("momentum", f"must be at least 0 and below 1, got {momentum}")
        if self.on_trajectory and self.damping is not None and not 0 <= self.damping < 1:
            raise InvalidInput("damping", f"must be at least 0 and below 1, got {self.damping}")
        if self.start is not None and self.start not in STARTS:
            raise InvalidInput("start", f"unknown start {self.start!r}; use {', '.join(STARTS)}")
        if self.basis is not None:
            get_basis(self.basis)
        self._validate_exchange()
        self._validate_times()

    def _validate_exchange(self) -> None:
        if self.exchange is not None and self.exchange not in EXCHANGES:
            raise InvalidInput(
                "exchange", f"unknown exchange {self.exchange!r}; use {', '.join(EXCHANGES)}"
            )
        if self.combine is not None and self.combine not in COMBINE:
            raise InvalidInput(
                "combine", f"unknown combination {self.combine!r}; use {', '.join(COMBINE)}"
            )
        if self.combine == "mean" and self.exchange != "independent":
            raise InvalidInput("combine", "goes with the exchange independent; leave it out")
        if self.in_law and (self.exchange != "mean" or self.log_coordinates):
            raise InvalidInput(
                "in_law", "has no coordinates to exchange or to log; leave these options out"
            )
        if self.error_feedback and self.log_coordinates:
            raise InvalidInput(
                "log_coordinates",
                "the steps of error feedback don't follow from coordinates alone; "
                "leave one of the two out",
            )

    def build_exchange(self, axes: tuple[str, ...], workers: int) -> AbstractExchange:
        """How so many workers on these axes share a step."""
        if self.exchange in (None, "mean"):
            return Mean(axes, replayable=bool(self.log_coordinates))
        return Gather(workers, axes, split=self.exchange == "split", combine=self.combine or "sum")

    def _validate_times(self) -> None:
        every = self.sample_every
        if self.half_samples and every is None:
            raise InvalidInput("half_samples", "goes with sample_every; leave it out")
        if every is not None and every != "epoch" and not (isinstance(every, int) and every > 0):
            raise InvalidInput(
                "sample_every", f"must be 'epoch' or a number of steps, got {every!r}"
            )
        times = self.milestones or ()
        if min(times, default=1) < 1 or list(times) != sorted(set(times)):
            raise InvalidInput("milestones", f"must be growing epochs, each above 0, got {times}")

    def optimizer(
        self,
        target: Any,
        *,
        steps: int,
        seed: int,
        exchange: AbstractExchange = Alone(),
    ) -> optax.GradientTransformationExtraArgs:
        """The method as an Optax transformation.

        Args:
            target: the parameters, or for a method on a trajectory the subspace.
            steps: in an epoch, in which milestones count.
            seed: of random directions, 0 to 2³² - 1.
            exchange: how workers combine coordinates.

        Raises:
            InvalidInput: the subspace doesn't fit the parameters.
        """
        method = METHODS[self.method]
        options = {name: getattr(self, name) for name in method.arguments}
        if self.learning_rate is not None:
            options["learning_rate"] = self._schedule(self.learning_rate, steps)
        known = {
            "seed": seed,
            "batch_size": self.batch_size,
            "steps": steps,
            "milestones": self.milestones or (),
        }
        options |= {name: known[name] for name in method.context}
        step = method.build(target, exchange=exchange, **options)
        if not self.weight_decay:
            return step
        return chain(optax.add_decayed_weights(self.weight_decay), step)

    def _schedule(self, rate: float, steps: int) -> optax.ScalarOrSchedule:
        times = self.milestones
        if not times:  # only then, as a resumed run may have more epochs and has to have its count
            return rate
        drops = jnp.asarray([min(epoch * steps, _MOST) for epoch in times], jnp.int32)
        rates = jnp.asarray([rate * _DECAY**i for i in range(len(times) + 1)], jnp.float32)
        return lambda count: rates[jnp.searchsorted(drops, count, side="right")]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Phase:
        """The inverse of `to_json`; of an earlier version, fields that came later may be missing:
        they take their defaults.

        Raises:
            InvalidInput: another field is missing or unknown, or its value can't be used.
        """
        if not isinstance(record, dict) or "method" not in record:
            raise InvalidInput("phases", "not the fields of a phase")
        method = lookup("method", record["method"], METHODS)
        known = {field.name for field in fields(cls)}
        record = {name: method.options[name] for name in _LATER & method.options.keys()} | record
        needed = {"method", "epochs", "batch_size", *method.options}
        if not needed <= record.keys() <= known:
            raise InvalidInput("phases", "not the fields of a phase")
        times = record.get("milestones")
        phase = cls(**{**record, "milestones": None if times is None else tuple(times)})
        phase.validate()
        return phase


def _preset(method: Method, name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    if not method.presets:
        raise InvalidInput("preset", f"{method.name} has none; leave it out")
    return lookup("preset", name, method.presets)


def _not_for(method: Method, name: str) -> str:
    known = {field.name for field in fields(Phase)} - {"method"}
    if name in known:
        return f"does not apply to {method.name}; leave it out"
    names = ", ".join(sorted({"epochs", "batch_size", *method.options}))
    return f"unknown key; {method.name} has: {names}"
