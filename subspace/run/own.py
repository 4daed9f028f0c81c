"""What users bring: arrays and a model of their own, checked and made the library's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from subspace import models
from subspace.data.arrays import set_apart
from subspace.data.dataset import (
    MOST_CLASSES,
    Dataset,
    Split,
    Wanted,
    check_division,
    divided,
)
from subspace.errors import InvalidInput
from subspace.tasks import AbstractTask, Classification, Custom, ImageClassification, Regression


def dataset_of(task: AbstractTask, train: Split, test: Split | None, wanted: Wanted) -> Dataset:
    """Examples of one's own, divided."""
    check_division(wanted)
    if isinstance(task, ImageClassification):
        train = _with_channels(train)
        test = None if test is None else _with_channels(test)
    parts = set_apart(train) if test is None else (train, test)
    if any(a.shape[1:] != b.shape[1:] for a, b in zip(*parts, strict=True)):
        raise InvalidInput("test", "has other shapes than the data; give examples of one kind")
    return divided(wanted.name, "1", _outputs(task, parts), parts, wanted)


def _with_channels(split: Split) -> Split:
    return split._replace(inputs=split.inputs[..., None]) if split.inputs.ndim == 3 else split


def split_of(field: str, data: Any) -> Split:
    """A pair of arrays.

    Raises:
        InvalidInput: of ``field``: they aren't, or their numbers can't be used.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise InvalidInput(field, "is a pair of arrays, inputs and targets")
    inputs, targets = (np.asarray(part) for part in data)
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets) or len(inputs) < 2:
        raise InvalidInput(
            field, f"has inputs {inputs.shape} and targets {targets.shape}; both need as many rows"
        )
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.dtype.kind not in "biuf":
            raise InvalidInput(field, f"has {name} of {array.dtype}; give numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidInput(field, f"has {name} that are not finite")
        if array.dtype.kind in "iu" and array.size and not _fits(array):
            raise InvalidInput(field, f"has {name} beyond 32 bits, up to {array.max()}")
    return Split(_narrow(inputs), _narrow(targets))


def _fits(array: np.ndarray) -> bool:
    """Whether whole numbers are such as JAX has by default."""
    return int(array.min()) >= -(2**31) and int(array.max()) < 2**31


def _narrow(array: np.ndarray) -> np.ndarray:
    """As JAX has it by default: float64 as float32, int64 as int32."""
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.int32}
    return array if array.dtype == np.uint8 else array.astype(kinds[array.dtype.kind])


def _outputs(task: AbstractTask, parts: Sequence[Split]) -> int:
    if isinstance(task, Regression | Custom):
        return int(np.prod(parts[0].targets.shape[1:]))
    shape = parts[0].targets.shape[1:]
    if isinstance(task, Classification | ImageClassification) and shape:
        raise InvalidInput("data", f"has targets of shape {shape} each, where a class is a number")
    classes = 1 + max(int(part.targets.max()) for part in parts)
    if min(int(part.targets.min()) for part in parts) < 0 or classes > MOST_CLASSES:
        raise InvalidInput("data", f"has classes beyond 0 to {MOST_CLASSES - 1}")
    return classes


@final
class Pair(eqx.Module):
    """A model of one example from functions of a batch."""

    params: PyTree
    apply: Callable[[PyTree, Any], Any] = eqx.field(static=True)

    def __call__(self, x: Any) -> Any:
        return self.apply(self.params, x[None])[0]


def built(model: Any, task: AbstractTask, dataset: Dataset, key: Any) -> tuple[Any, Any]:
    """The model, and its state."""
    found = _model_of(model, task, dataset, key)
    _check_fit(*found, task, dataset)
    return found


def _check_fit(model: Any, state: Any, task: AbstractTask, dataset: Dataset) -> None:
    """Raises InvalidInput, of ``model``, if a loss can't be had of it and an example."""
    inputs, targets = (jnp.asarray(part[:1]) for part in dataset.train)

    def score() -> tuple[Any, Any]:
        outputs, _ = models.apply(model, state, task.prepare(inputs))
        return outputs, task.score(outputs[0], targets[0])

    try:
        outputs, _ = jax.eval_shape(score)
    except Exception as error:  # whatever a model of the user's, or a loss, may raise
        why = " ".join(str(error).split())[:200]
        what = f"an input of shape {inputs.shape[1:]}, a target of shape {targets.shape[1:]}"
        raise InvalidInput("model", f"can't be trained on {what}: {why}") from error
    if (
        isinstance(task, Classification | ImageClassification)
        and outputs.shape[-1] < dataset.outputs
    ):
        have = f"{outputs.shape[-1]} outputs for {dataset.outputs} classes"
        raise InvalidInput("model", f"has {have}; give it as many")


def _model_of(model: Any, task: AbstractTask, dataset: Dataset, key: Any) -> tuple[Any, Any]:
    example = task.prepare(jnp.asarray(dataset.train.inputs[:1]))
    pair = isinstance(model, tuple) and len(model) == 2
    if pair and isinstance(model[0], eqx.Module):
        return model
    if pair and callable(model[0]) and callable(model[1]):
        init, apply = model
        return Pair(init(key, example), apply), None
    if isinstance(model, eqx.Module) and callable(model):
        return model, None
    raise InvalidInput(
        "model", "is an Equinox module, one with its state, or functions (init, apply)"
    )
