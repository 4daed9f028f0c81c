"""What is trained: how a batch is prepared, its loss, and which figures are reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from jaxtyping import Array, Float, Key, PRNGKeyArray

from subspace import models
from subspace.data.dataset import Dataset, Wanted

_T = TypeVar("_T")


class Metric(NamedTuple):
    """A figure of a task, as a mean over examples.

    Attributes:
        name: as `AbstractTask.score` calls it; records have ``train_NAME``, ``validation_NAME``
            and ``test_NAME``.
        unit: for axes and tables; ``"%"`` for a fraction that is shown as a percentage.
        maximise: whether high is good.
    """

    name: str
    unit: str = ""
    maximise: bool = False

    @property
    def title(self) -> str:
        """For an axis, such as ``accuracy, %``."""
        words = self.name.replace("_", " ")
        return f"{words}, {self.unit}" if self.unit else words

    def best(self, things: Iterable[_T], key: Callable[[_T], float]) -> _T:
        """That with the best value; the first of several."""
        return (max if self.maximise else min)(things, key=key)

    def show(self, value: int | float | None) -> str:
        """``81.2%``, or ``0.3142``."""
        if value is None:
            return "-"
        return f"{value:.1%}" if self.unit == "%" else f"{value:.4g}"

    def better(self, left: int | float, right: int | float) -> bool:
        """Whether the left value is better than the right one."""
        return left > right if self.maximise else left < right


class Like(NamedTuple):
    """What a model is to resemble.

    Attributes:
        folder: of a pretrained model; None for a model of its own sizes.
        pooling: of tokens, as `subspace.models.bert.BertShape` has it; None for the usual one.
    """

    folder: Path | None = None
    pooling: str | None = None


class AbstractTask(ABC):
    """A kind of problem. Arrays of examples have any shape and dtype behind the first axis.

    Attributes:
        metrics: what is reported; the first is what runs are compared by. The loss is one of them.
        augments: whether `augment` differs from `prepare`.
        model: the one that a run takes by default.
        dataset: the one that a run takes by default; None if it has to be said.
    """

    augments: ClassVar[bool] = False
    model: ClassVar[str] = "fc"
    dataset: ClassVar[str | None] = None

    metrics: tuple[Metric, ...]

    def prepare(self, inputs: Array) -> Array:
        """A batch of inputs as a model takes them, without randomness; as they are by default."""
        return inputs

    def augment(self, inputs: Array, keys: Key[Array, " batch"]) -> Array:
        """Inputs to train on, prepared; with `augments` each changed at random by its own key."""
        del keys
        return self.prepare(inputs)

    @abstractmethod
    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        """``loss`` and the other metrics of one example, from what the model makes of it."""

    @abstractmethod
    def load(self, wanted: Wanted) -> Dataset:
        """A dataset by name, divided into train, validation and test."""

    def build(self, model: str, dataset: Dataset, key: PRNGKeyArray) -> tuple[Any, Any]:
        """A freshly initialised model of one example, and its state; by default the zoo's."""
        return models.build(model, dataset.shape, dataset.outputs, key=key)

    def build_like(
        self, like: Like, model: str, dataset: Dataset, key: PRNGKeyArray
    ) -> tuple[Any, Any]:
        """As `build`, with the sizes of a pretrained model, if the task knows of such."""
        del like
        return self.build(model, dataset, key)
