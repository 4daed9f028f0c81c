"""`subspace.train`: a whole run from Python, on arrays and a model of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from subspace.config.phase import Phase
from subspace.config.run import SHARED, RunConfig
from subspace.data.dataset import Split, Wanted
from subspace.errors import InvalidInput, lookup
from subspace.methods import Method, OnTrajectory, rates
from subspace.options import fields_of
from subspace.run.execute import finish, started
from subspace.run.own import Pair, built, dataset_of, split_of
from subspace.store.folder import RunFolder, resume_config
from subspace.store.weights import Weights
from subspace.tasks import (
    TASKS,
    AbstractTask,
    Classification,
    Custom,
    ImageClassification,
    Language,
    Regression,
)
from subspace.train.callbacks import Callback, Stopped, together
from subspace.train.trainer import Trainer

Methods = Method | str | Mapping[str, Any] | Sequence[Method | str | Mapping[str, Any]]
"""A record, a name, or a name and settings as for ``--then``; or several."""

_NAMED = {"task", "dataset", "model", "source", "init_from", "stream", "new_head", "architecture"}
_NAMED |= {"tokenizer", "pooling", "text_column", "label_column"}
_OWN = "arrays"
"""What a run's record calls a dataset without a name."""


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        weights: of an Equinox module the trained module, with its state if it has one; of an
            ``(init, apply)`` pair its trained parameters.
        records: a dictionary of figures for each epoch.
        summary: of the whole run, as in summary.json.
        folder: of the run, if one was asked for.
    """

    weights: Any
    records: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: Path | None


def train(
    method: Methods,
    *,
    model: Any,
    data: Any,
    test: Any = None,
    task: AbstractTask | str | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    validation: float = 0.1,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    out: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Result:
    """Trains a model of yours on arrays of yours.

    Args:
        method: such as ``subspace.methods.RBD(dim=250)``, its name, or a dictionary of ``method``
            and its settings; or several of these, one after the other.
        model: an Equinox module of **one** example, with its state as a pair if it has one; or
            ``(init, apply)``, functions of a **batch**, ``init(key, inputs) -> params`` and
            ``apply(params, inputs) -> outputs``, as Flax and others have them.
        data: inputs and targets to train on, arrays of shape (N, ...) of any kind: images as uint8
            or floats, vectors, token ids.
        test: inputs and targets to test on; by default a fifth of the data, always the same one.
        task: a `subspace.tasks.AbstractTask`, or its name; by default what the targets say: classes
            for (N,) whole numbers, next tokens for whole numbers of the inputs' shape, regression
            for floats.
        loss: ``loss(output, target)`` of one example, instead of the task's.
        validation: fraction of the data that is held out; 0 for none.
        seed: of initialisation, data order and directions.
        callbacks: told how it goes; one may stop it, and the result is what there is then.
        out: a folder for records, pictures and checkpoints; by default nothing stays on disk.
        resume: go on with the run in ``out``, which has to have the same data and model.
        settings: of the run or the schedule, by the names of ``subspace run``: ``epochs``,
            ``batch_size``, ``learning_rate``, ``weight_decay``, ``augment``, ``workers`` and so on.

    Raises:
        InvalidInput: something can't be used; says which and what to do.
        Diverged: the loss became NaN or infinite.

    Examples:
        >>> rbd = subspace.methods.RBD(dim=250)
        >>> result = subspace.train(rbd, model=module, data=(x, y), epochs=5, learning_rate=1.0)
        >>> result.summary["test_accuracy"]
    """
    for one in callbacks:
        if not isinstance(one, Callback):
            raise InvalidInput("callbacks", f"are subspace.Callback, got {one!r}")
    wanted = Wanted(_OWN, validation=validation, seed=seed)
    given = split_of("data", data)
    chosen = _task(task, loss, given)
    others = None if test is None else split_of("test", test)
    dataset = dataset_of(chosen, given, others, wanted)
    config = _config(method, chosen, settings | {"validation": validation, "seed": seed})
    trainer = Trainer(config, dataset, task=chosen, build=partial(built, model, chosen))
    callback, keep = together(callbacks), out is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run" if out is None else Path(out))
        if resume:
            config = resume_config(folder.read_config(), {"epochs": config.phases[0].epochs})
            folder.check_resumable(config)
        else:
            folder.check_free()
        with started(folder, trainer, resume=resume, callback=callback, keep=keep) as loop:
            try:
                results = loop.run()
            except Stopped:
                results = loop.results()
            trained = Weights(loop.state.params, loop.state.model_state)
        summary = finish(folder, trainer, results)
        records = folder.records()
    return Result(_unwrapped(trainer, trained), records, summary, folder.path if keep else None)


def _task(
    task: AbstractTask | str | None, loss: Callable[[Any, Any], Any] | None, data: Split
) -> AbstractTask:
    if task is not None and loss is not None:
        raise InvalidInput("loss", "a task has its own; give one of the two")
    if loss is not None and not callable(loss):
        raise InvalidInput("loss", f"is a function of an output and a target, got {loss!r}")
    if loss is not None:
        return Custom(loss)
    if isinstance(task, AbstractTask):
        return task
    if task is not None:
        return lookup("task", task, TASKS)
    inputs, targets = data
    if targets.dtype.kind == "f":
        return Regression()
    if targets.shape == inputs.shape and inputs.dtype.kind in "iu":
        return Language()
    if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
        return ImageClassification()
    return Classification()


def _config(method: Methods, task: AbstractTask, settings: dict[str, Any]) -> RunConfig:
    """The record of the run; what it can't name, model and data, it calls the user's own."""
    shared = {name: value for name, value in settings.items() if name in SHARED}
    schedule = {name: value for name, value in settings.items() if name not in SHARED}
    one = isinstance(method, Method | str | Mapping)
    methods: Sequence[Any] = [method] if one else method  # pyright: ignore[reportAssignmentType]
    if not isinstance(methods, list | tuple):
        raise InvalidInput("method", f"is a record, a name or several, got {method!r}")
    phases: list[Phase] = []
    for i, one in enumerate(methods):
        start = "first" if i and phases[-1].samples_trajectory else "here"
        phases.append(_phase(one, schedule, start))
    if not phases:
        raise InvalidInput("method", "give at least one")
    same = (n for n, one in TASKS.items() if type(one) is type(task) and vars(one) == vars(task))
    name = next(same, "images")
    odd = shared.keys() & _NAMED
    if odd:
        raise InvalidInput(min(odd), "is for datasets and models with names; leave it out")
    return RunConfig(task=name, dataset=_OWN, model="fc", phases=tuple(phases), **shared)


def _phase(method: Method | str | Mapping[str, Any], schedule: dict[str, Any], start: str) -> Phase:
    if not isinstance(method, Method):
        given = {"method": method} if isinstance(method, str) else dict(method)
        return Phase.resolve(schedule | given, model="fc", dataset=_OWN, start=start)
    usual = {"epochs": rates.epochs(_OWN), **method.defaults}
    for name in schedule:
        if name not in fields_of(method.schedule):
            raise InvalidInput(name, f"does not apply to {method.name}, or is none of its schedule")
    if isinstance(method, OnTrajectory) and method.start is None:
        method = replace(method, start=start)
    return Phase(method, method.schedule(**(usual | schedule))).with_rate("fc", _OWN)


def _unwrapped(trainer: Trainer, weights: Weights) -> Any:
    """What the user gave, trained."""
    model = trainer.model(weights)
    if isinstance(model, Pair):
        return model.params
    return (model, weights.model_state) if jax.tree.leaves(weights.model_state) else model
