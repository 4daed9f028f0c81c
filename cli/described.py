"""Commands that take the options of ``subspace run`` that describe a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from .run import absolute, run

_ABOUT_THE_FOLDER = {"out", "resume", "checkpoint_every", "log_coordinates", "json", "tensorboard"}
_ABOUT_PROCESSES = {"workers", "distributed", "coordinator", "num_processes", "process_id"}
_ABOUT_OTHER_PHASES = {"then", "source", "start", "pairs", "on_failure", "initial_scaling", "alpha"}


def describes_a_run(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds to a command the options that say what a run of one phase is, but for some.

    The command receives those that were given as ``given``, by the names of the library.
    """
    unwanted = {*_ABOUT_THE_FOLDER, *_ABOUT_PROCESSES, *_ABOUT_OTHER_PHASES, *without}

    def add(command: Callable[..., None]) -> Callable[..., None]:
        theirs = _parameters(run)
        described = [one for one in theirs if one.name not in unwanted]
        own = [one for one in _parameters(command) if one.name != "given"]

        def whole(**values: Any) -> None:
            given = {one.name: values.pop(one.name) for one in described}
            for name in {"data_dir", "init_from"} & given.keys():
                given[name] = absolute(given[name])
            given = {name: value for name, value in given.items() if value is not None}
            command(given=given, **values)

        parameters = described + own
        whole.__signature__ = inspect.Signature(parameters)  # pyright: ignore
        whole.__annotations__ = {one.name: one.annotation for one in parameters}
        whole.__name__, whole.__doc__ = command.__name__, command.__doc__
        return whole

    return add


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """With their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    return [one.replace(annotation=hints.get(one.name, Any), kind=kind) for one in found]
