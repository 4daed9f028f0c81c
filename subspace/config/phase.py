"""A phase of a run: one method, how long it goes and with what settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optax

from subspace.errors import InvalidInput, lookup
from subspace.methods import METHODS, Context, Decayed, Method, OnTrajectory, Rated, Schedule, rates
from subspace.methods.base import Exchanging, as_json
from subspace.optim.exchange import AbstractExchange, Alone, Mean
from subspace.optim.in_subspace import chain
from subspace.options import Field, check_value, fields_of, values_of


@dataclass(frozen=True)
class Phase:
    """A method and its schedule.

    Examples:
        >>> Phase.resolve({"method": "rbd", "dim": 100}, model="fc", dataset="digits")
    """

    method: Method
    schedule: Schedule

    @classmethod
    def resolve(
        cls, given: Mapping[str, Any], *, model: str, dataset: str, start: str = "here"
    ) -> Phase:
        """Fills what isn't given with the defaults of the method, model and dataset.

        Args:
            given: ``method``, and fields of it and of its schedule; None means not given.
                ``preset`` names defaults of the method that go before its own.
            model, dataset: of the run.
            start: where a method on a trajectory starts by default.

        Raises:
            InvalidInput: a value that can't be used, or doesn't apply to the method.
        """
        given = {name: value for name, value in given.items() if value is not None}
        method = lookup("method", given.pop("method"), METHODS)
        preset = _preset(method, given.pop("preset", None))
        known = fields_of_phase(method)
        for name in given:
            if name not in known:
                raise InvalidInput(name, _not_for(method, name))
        usual: dict[str, Any] = {"epochs": rates.epochs(dataset)}
        if "start" in known:
            usual["start"] = start
        usual |= {**method.defaults, **preset}
        if given.get("schedule", "constant") != "constant":
            usual.pop("milestones", None)  # those of a constant schedule
        phase = cls.of(method, usual | given)
        return phase.with_rate(model, dataset)

    @classmethod
    def of(cls, method: type[Method], values: Mapping[str, Any]) -> Phase:
        """A phase of a method, with values for fields of it and of its schedule."""
        own, known = fields_of(method), fields_of_phase(method)
        for name, value in values.items():
            check_value(known[name], value)
        inner = {name: value for name, value in values.items() if name in own}
        outer = {name: value for name, value in values.items() if name not in own}
        return cls(method(**inner), method.schedule(**outer))

    def with_rate(self, model: str, dataset: str) -> Phase:
        """With a learning rate, where it has none and needs one."""
        if not isinstance(self.schedule, Rated) or self.schedule.learning_rate is not None:
            return self
        row = rates.learning_rate(self.method.rate_name, model, dataset)
        return Phase.of(type(self.method), self.values | {"learning_rate": row.learning_rate})

    @property
    def values(self) -> dict[str, Any]:
        """Every field that applies, by name."""
        return values_of(self.method) | values_of(self.schedule)

    @property
    def epochs(self) -> int:
        return self.schedule.epochs

    @property
    def batch_size(self) -> int:
        return self.schedule.batch_size

    @property
    def learning_rate(self) -> float | None:
        """None for a method that has none."""
        return self.schedule.learning_rate if isinstance(self.schedule, Rated) else None

    @property
    def shaped_by_epochs(self) -> str | None:
        """What of its steps depends on how many there will be, in words; None for nothing."""
        if self.values.get("schedule", "constant") != "constant":
            return f"{self.values['schedule']} schedule"
        average = self.values.get("average")
        return None if average is None else f"average ({average})"

    @property
    def samples_trajectory(self) -> bool:
        return self.schedule.sample_every is not None

    @property
    def on_trajectory(self) -> bool:
        return isinstance(self.method, OnTrajectory)

    @property
    def logs_coordinates(self) -> bool:
        return isinstance(self.method, Exchanging) and self.method.log_coordinates

    @property
    def shares_by_mean(self) -> bool:
        """Whether the number of workers makes no difference."""
        return not self.method.counts_workers

    @property
    def steps_of_a_round(self) -> int:
        """How many a worker takes between exchanges."""
        return self.values.get("local_steps", 1)

    @property
    def splits_directions(self) -> bool:
        return isinstance(self.method, Exchanging) and self.method.exchange == "split"

    def exchange(self, axes: tuple[str, ...], workers: int, seed: int = 0) -> AbstractExchange:
        """How so many workers on these axes share a step; the seed is of rounding."""
        if isinstance(self.method, Exchanging):
            return self.method.exchange_on(axes, workers, seed)
        return Mean(axes)

    def optimizer(
        self, target: Any, *, steps: int, seed: int, exchange: AbstractExchange = Alone()
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
        schedule = self.schedule
        context = Context(None, seed, exchange, self.batch_size, steps, epochs=self.epochs)
        if isinstance(schedule, Rated):
            context = context._replace(
                learning_rate=schedule.rates(steps), milestones=schedule.milestones
            )
        decay = schedule.weight_decay if isinstance(schedule, Decayed) else 0.0
        if self.method.decouples:
            return self.method.build(target, context._replace(weight_decay=decay))
        step = self.method.build(target, context)
        return chain(optax.add_decayed_weights(decay), step) if decay else step

    def to_json(self) -> dict[str, Any]:
        return as_json(self.method) | values_of(self.schedule)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Phase:
        """The inverse of `to_json`.

        Raises:
            InvalidInput: a field is missing or unknown, or its value can't be used.
        """
        if not isinstance(record, dict) or not isinstance(record.get("method"), str):
            raise InvalidInput("phases", "not the fields of a phase")
        method = lookup("method", record["method"], METHODS)
        values = {name: value for name, value in record.items() if name != "method"}
        if values.keys() != fields_of_phase(method).keys():
            odd = ", ".join(sorted(values.keys() ^ fields_of_phase(method).keys()))
            raise InvalidInput("phases", f"not the fields of a phase of {method.name}: {odd}")
        if isinstance(values.get("milestones"), list):
            values["milestones"] = tuple(values["milestones"])
        return cls.of(method, values)


def fields_of_phase(method: type[Method]) -> dict[str, Field]:
    """Every field that applies to a method, its schedule's among them."""
    return fields_of(method) | fields_of(method.schedule)


def default_of(method: type[Method], name: str) -> Any:
    """A field's default for a method, before model and dataset are known."""
    return method.defaults.get(name, fields_of_phase(method)[name].default)


def _preset(method: type[Method], name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    if not method.presets:
        raise InvalidInput("preset", f"{method.name} has none; leave it out")
    return lookup("preset", name, method.presets)


def _not_for(method: type[Method], name: str) -> str:
    if any(name in fields_of_phase(one) for one in METHODS.values()):
        return f"does not apply to {method.name}; leave it out"
    return f"unknown key; {method.name} has: {', '.join(sorted(fields_of_phase(method)))}"
