"""``subspace list``: everything that has a name."""

from __future__ import annotations

from collections.abc import Iterable

from .show import make_console, number, print_table, say


def list_() -> None:
    """List the methods, bases, models, datasets and default learning rates."""
    from subspace import data, defaults
    from subspace.basis import BASES
    from subspace.models import MODELS
    from subspace.partition import ALLOCATIONS
    from subspace.registry import METHODS

    _section("Methods", ((name, method.description) for name, method in METHODS.items()))
    _section("Bases (--basis)", ((name, text) for name, (_, text) in BASES.items()))
    _section("Allocations (--allocate)", ALLOCATIONS.items())
    _section("Models (--model)", ((name, entry.description) for name, entry in MODELS.items()))
    _section("Datasets (--dataset)", data.describe())
    console = make_console()
    say(console, "Default learning rates (--lr): the first row that fits", style="bold")
    rows = (
        ("", row.method, row.model, row.dataset, number(row.learning_rate, 6), row.source)
        for row in defaults.LEARNING_RATES
    )
    print_table(console, ["", "method", "model", "dataset", "lr", "source"], rows, left=6)


def _section(title: str, entries: Iterable[tuple[str, str]]) -> None:
    console, entries = make_console(), list(entries)
    width = max(len(name) for name, _ in entries)
    say(console, title, style="bold")
    for name, text in entries:
        say(console, f"  {name:<{width}}  {text}")
    say(console, "")
