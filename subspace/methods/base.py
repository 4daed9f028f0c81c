"""What a method is: a record of its own fields that builds an Optax transformation."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, NamedTuple, TypeVar

import optax

from subspace.errors import InvalidInput
from subspace.methods.schedule import Decayed, Schedule
from subspace.optim.exchange import COMBINE, AbstractExchange, Alone, Gather, Mean
from subspace.optim.rounded import ROUNDED, Rounded
from subspace.options import (
    check,
    check_value,
    fields_of,
    option,
    values_of,
    whole_number_or_fraction,
)
from subspace.spaces.trajectory import TrajectorySubspace

_M = TypeVar("_M", bound="type[Method]")
WORKERS = "Several devices and processes"


class Context(NamedTuple):
    """What a method is told when it is built, beside its own fields.

    Attributes:
        learning_rate: a number or an Optax schedule, of a method that has one.
        seed: of random directions, 0 to 2³² - 1; or an array of one.
        exchange: how workers share a step.
        batch_size: examples of a step on all workers together.
        steps: of an epoch.
        milestones: epochs after which the learning rate drops.
        epochs: of the phase.
        weight_decay: of a method that decouples it from the gradient; 0 for others.
    """

    learning_rate: Any = None
    seed: Any = 0
    exchange: AbstractExchange = Alone()
    batch_size: int = 1
    steps: int = 1
    milestones: tuple[int, ...] = ()
    epochs: int = 1
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to train; derive from it, or from one of the classes below, and `register` it.

    Attributes:
        name: by which runs know it.
        schedule: what a phase of it can be told beside its own fields.
        defaults: of its schedule, where they are others.
        presets: fields that go well together, by a name for them.
        needs_rows: its ``update`` takes ``rows_fn``, see `subspace.natural.capture`; all are given
            ``value`` and ``value_fn``, the batch's loss and its function of the parameters.
    """

    name: ClassVar[str] = ""
    schedule: ClassVar[type[Schedule]] = Decayed
    defaults: ClassVar[Mapping[str, Any]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    needs_rows: ClassVar[bool] = False

    def __post_init__(self):
        check(self)

    @abstractmethod
    def build(self, target: Any, context: Context) -> optax.GradientTransformationExtraArgs:
        """The method as an Optax transformation.

        Args:
            target: the parameters, or for a method on a trajectory the subspace.
            context: what else there is to know.

        Raises:
            InvalidInput: a field doesn't fit the parameters.
        """

    @property
    def rate_name(self) -> str:
        """Under which name default learning rates are looked up."""
        return self.name

    @property
    def decouples(self) -> bool:
        """Whether it applies weight decay itself, instead of seeing it in the gradient."""
        return False

    def due(self, step: int, steps: int) -> bool | None:
        """Of a method with work that not every step does: whether this step of a phase does it.

        Each answer is a program of its own; None for a method without such work. An epoch has so
        many ``steps``.
        """
        del step, steps
        return None

    @property
    def counts_workers(self) -> bool:
        """Whether it makes a difference how many workers share a batch."""
        return False

    def directions(self, params: Any) -> int | None:
        """d of a method without coordinates, that otherwise are counted; None to count them."""
        del params
        return None

    def passes(self, directions: int) -> float:
        """Forward passes over its batch that a step of d directions costs; a gradient counts 3.

        Those of line searches are counted as they happen.
        """
        del directions
        return 3.0

    def check_batch(self, size: int, directions: int) -> None:
        """Raises InvalidInput if a worker's share of a batch is too small for the directions."""
        del size, directions

    @classmethod
    def description(cls) -> str:
        """One line for people."""
        return inspect.getdoc(cls).partition("\n")[0].rstrip(".")  # pyright: ignore


METHODS: dict[str, type[Method]] = {}
"""All methods by name; `register` puts in more."""


def register(name: str) -> Callable[[_M], _M]:
    """Makes a method known by a name: to runs, ``--then``, ``subspace list``, `tune`.

    Examples:
        >>> @register("signs")
        ... @dataclass(frozen=True)
        ... class Signs(Method):
        ...     '''Steps along the signs of the gradient.'''
        ...     def build(self, target, context):
        ...         return optax.sign_sgd(context.learning_rate)
    """

    def add(method: _M) -> _M:
        method.name = name
        METHODS[name] = method
        return method

    return add


EXCHANGES = ("mean", "independent", "split")


@dataclass(frozen=True, kw_only=True)
class Exchanging(Method):
    """A method whose workers exchange coordinates."""

    exchange: str = option(
        "mean",
        "mean of shared coordinates, independent directions, or split directions.",
        panel=WORKERS,
        choices=EXCHANGES,
        by_run=True,
    )
    combine: str = option(
        "sum",
        "Steps of independent workers: their sum or mean.",
        panel=WORKERS,
        choices=COMBINE,
        by_run=True,
    )
    sent_as: str = option(
        "float32",
        "The numbers that workers exchange: float32, bfloat16 or int8, rounded by chance.",
        panel=WORKERS,
        choices=("float32", *ROUNDED),
        by_run=True,
    )
    log_coordinates: bool = option(
        False,
        "Keep every step's coordinates, for `subspace replay`.",
        panel=WORKERS,
        describes=False,
        moves_rate=False,
        by_run=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.combine == "mean" and self.exchange != "independent":
            raise InvalidInput("combine", "goes with the exchange independent; leave it out")
        if self.sent_as != "float32" and self.exchange != "mean":
            raise InvalidInput("sent_as", "goes with the exchange mean; leave it out")

    @property
    def counts_workers(self) -> bool:
        own = self.exchange != "mean" or self.sent_as != "float32"
        return own or super().counts_workers

    def exchange_on(self, axes: tuple[str, ...], workers: int, seed: int = 0) -> AbstractExchange:
        """How so many workers on these axes share a step; the seed is of rounding."""
        if self.sent_as != "float32":
            return Rounded(axes, self.sent_as, seed)
        if self.exchange == "mean":
            return Mean(axes, replayable=self.log_coordinates)
        return Gather(workers, axes, split=self.exchange == "split", combine=self.combine)


STARTS = ("first", "last", "average", "here")


@dataclass(frozen=True, kw_only=True)
class OnTrajectory(Method):
    """A method in the span of a trajectory, of an earlier phase or run."""

    tail: int | float | None = option(
        None,
        "The newest samples that count: how many, or the fraction of them.",
        above=0,
        read=whole_number_or_fraction,
        shown="all; twa 0.5",
        by_run=True,
    )
    start: str | None = option(
        None,
        "Where it starts: at the first or last of the samples that count, their average, or here.",
        choices=STARTS,
        shown="first, right after the sampling, else here; twa average",
        describes=False,
        by_run=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.tail is not None and self.tail > 1 and self.tail != int(self.tail):
            raise InvalidInput("tail", f"must be a whole number or a fraction, got {self.tail}")

    def counted(self, samples: int) -> int:
        """How many of so many samples count."""
        if self.tail is None:
            return samples
        return min(samples, math.ceil(self.tail if self.tail >= 1 else self.tail * samples))

    def least_samples(self) -> int:
        """How many have to count."""
        return 2

    @abstractmethod
    def space(self, samples: Any, params: Any, divided: bool = False) -> TrajectorySubspace:
        """The subspace that samples span.

        Args:
            samples: those that count, (t, D).
            params, divided: see `TrajectorySubspace.fit`.

        Raises:
            InvalidInput: they don't span it.
        """


@dataclass(frozen=True, kw_only=True)
class InDirections(OnTrajectory):
    """A method in the principal directions of a trajectory."""

    dim: int | float = option(
        15,
        "Directions, or the fraction of the trajectory's variance that they explain.",
        above=0,
        read=whole_number_or_fraction,
        by_run=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.dim > 1 and self.dim != int(self.dim):
            raise InvalidInput(
                "dim", f"must be a whole number or a fraction below 1, got {self.dim}"
            )

    def least_samples(self) -> int:
        return int(max(1, self.dim)) + 1

    def space(self, samples: Any, params: Any, divided: bool = False) -> TrajectorySubspace:
        return TrajectorySubspace.fit(samples, self.dim, params, divided)


def takes_fields_of(
    method: type[Method], but: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a function that ends in ``**options`` the method's fields as keyword arguments.

    They stand in its signature with their defaults, and below its docstring with their help, so
    that they are written in one place only.
    """
    own = {
        name: one
        for name, one in fields_of(method).items()
        if not one.option.by_run and name not in but
    }

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        plain = inspect.signature(function)
        kept = [one for one in plain.parameters.values() if one.kind is not one.VAR_KEYWORD]
        kind = inspect.Parameter.KEYWORD_ONLY
        fields = [
            inspect.Parameter(name, kind, default=one.default, annotation=Any)
            for name, one in own.items()
        ]
        signature = plain.replace(parameters=[*kept, *fields])

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)  # a TypeError for what there isn't
            for name, value in bound.arguments.items():
                if name in own:
                    check_value(own[name], value)
            return function(*args, **kwargs)

        checked.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        lines = [
            f"    {name}: {one.option.help} Default: {one.default!r}." for name, one in own.items()
        ]
        checked.__doc__ = (
            inspect.cleandoc(function.__doc__ or "") + "\n\nOptions:\n" + "\n".join(lines)
        )
        return checked

    return add


def as_json(method: Method) -> dict[str, Any]:
    """The method's name and fields, all that a run keeps of it.

    Raises:
        InvalidInput: a field holds an object that has no name, so that a file can't tell it.
    """
    values = values_of(method)
    for name, value in values.items():
        if not isinstance(value, str | int | float | bool | tuple | None):
            kind = type(value).__name__
            raise InvalidInput(
                name, f"{kind} has no name to be kept by; register it, and give that"
            )
    return {"method": method.name, **values}
