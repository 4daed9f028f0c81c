"""``subspace list``: everything that has a name."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from .show import make_console, number, print_table, say


class Topic(StrEnum):
    METHODS = "methods"
    TASKS = "tasks"
    BASES = "bases"
    ALLOCATIONS = "allocations"
    MODELS = "models"
    DATASETS = "datasets"
    RATES = "rates"


def list_(
    topic: Annotated[Topic | None, typer.Argument(help="One of these alone, in full.")] = None,
) -> None:
    """List the methods, tasks, bases, models, datasets and default learning rates."""
    from subspace import data
    from subspace.basis import BASES
    from subspace.methods import METHODS
    from subspace.models import MODELS
    from subspace.spaces.allocate import ALLOCATIONS
    from subspace.tasks import TASKS, description

    if topic is not None and topic in _IN_FULL:
        _IN_FULL[topic]()
        return
    sections = {
        Topic.METHODS: (
            "Methods; subspace list methods shows their options",
            ((n, method.description()) for n, method in METHODS.items()),
        ),
        Topic.TASKS: ("Tasks (--task)", ((n, description(task)) for n, task in TASKS.items())),
        Topic.BASES: ("Bases (--basis)", ((name, text) for name, (_, text) in BASES.items())),
        Topic.ALLOCATIONS: ("Allocations (--allocate)", ALLOCATIONS.items()),
        Topic.MODELS: (
            "Models (--model); subspace list models shows their sizes",
            ((name, entry.description) for name, entry in MODELS.items()),
        ),
        Topic.DATASETS: ("Datasets (--dataset)", data.describe()),
    }
    for name, (title, entries) in sections.items():
        if topic in (None, name):
            _section(title, entries)
    if topic in (None, Topic.RATES):
        _rates()


def _section(title: str, entries: Iterable[tuple[str, str]]) -> None:
    console, entries = make_console(), list(entries)
    width = max(len(name) for name, _ in entries)
    say(console, title, style="bold")
    for name, text in entries:
        say(console, f"  {name:<{width}}  {text}")
    say(console, "")


def _methods() -> None:
    """Every method with its options, each with its default."""
    from subspace.config.phase import default_of, fields_of_phase
    from subspace.methods import METHODS

    console = make_console()
    for name, method in METHODS.items():
        say(console, f"{name}: {method.description()}", style="bold")
        for field_name, field in fields_of_phase(method).items():
            default = default_of(method, field_name)
            shown = field.option.shown if default is None else default
            say(console, f"  {field.flag} {shown}  {field.option.help}")
        say(console, "")


def _models() -> None:
    from subspace.models import MODELS, size

    console = make_console()
    say(console, "Models (--model); D for 100 classes of 32x32x3 images", style="bold")
    rows = (
        ("", name, f"{size(name, (32, 32, 3), 100):,}", entry.source, entry.description)
        for name, entry in MODELS.items()
        if entry.takes in ("images", "any")
    )
    print_table(console, ["", "model", "D", "arXiv", "what it is"], rows, left=2)


def _rates() -> None:
    from subspace.methods import rates as defaults

    console = make_console()
    say(console, "Default learning rates (--lr): the first row that fits", style="bold")
    rows = (
        ("", row.method, row.model, row.dataset, number(row.learning_rate, 6), row.source)
        for row in defaults.LEARNING_RATES
    )
    print_table(console, ["", "method", "model", "dataset", "lr", "source"], rows, left=6)


_IN_FULL = {Topic.METHODS: _methods, Topic.MODELS: _models}
