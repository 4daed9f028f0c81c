"""What can be reproduced: variants of a run, over models, datasets and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from subspace import files
from subspace.errors import InvalidInput, lookup, one_of
from subspace.models import MODELS
from subspace.study.cell import MOST_SEEDS, Cell, slug
from subspace.study.table import Table

BUDGETS = ("quick", "full")


@dataclass(frozen=True)
class Plan:
    """How a target is to be reproduced.

    Attributes:
        budget: ``"full"``, the paper's protocol, or ``"quick"``, minutes on 2 cores.
        epochs, seeds: how many.
        datasets, models: by name.
        data_dir: as in `subspace.data.dataset.load`.
        augment: as in `RunConfig`; None for the dataset's default, the papers' way.
    """

    budget: str
    epochs: int
    seeds: int
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    data_dir: str | None = None
    augment: bool | None = None

    @classmethod
    def of(
        cls,
        budget: str,
        full: Mapping[str, Any],
        quick: Mapping[str, Any],
        given: Mapping[str, Any],
    ) -> Plan:
        """A budget's fields, with those that are given instead.

        Raises:
            InvalidInput: an unknown budget, or a number that is not positive.
        """
        one_of("budget", budget, BUDGETS)
        fields = {"seeds": 3, **full}
        if budget == "quick":
            fields |= {"epochs": 3, "seeds": 2, "datasets": ("digits",), "models": ("fc",), **quick}
        fields |= {name: value for name, value in given.items() if value is not None}
        for name, most in (("epochs", 2**31 - 1), ("seeds", MOST_SEEDS)):
            if not 1 <= fields[name] <= most:
                reason = f"must be at least 1 and at most {most}, got {fields[name]}"
                raise InvalidInput(name, reason)
        for name in fields["models"]:
            lookup("models", name, MODELS)
        return cls(budget, **fields)

    @property
    def quick(self) -> bool:
        return self.budget == "quick"


@dataclass(frozen=True)
class Variant:
    """One row of a table: what is set for it, beyond the model, the dataset and the seed.

    ``x`` is its place along the horizontal axis of a figure, such as d.
    """

    label: str
    given: Mapping[str, Any]
    then: Sequence[Mapping[str, Any]] = ()
    x: int | float | None = None


@dataclass(frozen=True)
class Target:
    """A table or figure of a paper.

    Attributes:
        source: where it is published.
        description: one line for people.
        variants: of a plan, a model and a dataset.
        published: the paper's figures by (model, dataset, variant), as printed there.
        datasets, models, epochs: the paper's.
        quick: what differs in the quick budget, by name of the plan's fields.
        x_label: of the figure's horizontal axis; None for one bar a variant.
        measures: fields of the summaries that are shown beside the accuracy.
        remark: a sentence on the paper's other figures.
    """

    name: str
    source: str
    description: str
    variants: Callable[[Plan, str, str], Sequence[Variant]]
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    epochs: int
    published: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    x_label: str | None = None
    measures: tuple[str, ...] = ()
    remark: str | None = None

    def plan(self, budget: str, **given: Any) -> Plan:
        """The budget's protocol with what is given changed; raises as `Plan.of` does."""
        full = {"epochs": self.epochs, "datasets": self.datasets, "models": self.models}
        return Plan.of(budget, full, self.quick, given)

    def cells(self, plan: Plan) -> list[Cell]:
        """Every run, the first seed of all before the second of any."""
        return [
            _cell(plan, model, dataset, variant, seed)
            for seed in range(plan.seeds)
            for dataset in plan.datasets
            for model in plan.models
            for variant in self.variants(plan, model, dataset)
        ]


def _cell(plan: Plan, model: str, dataset: str, variant: Variant, seed: int) -> Cell:
    task: dict[str, Any] = {"model": model, "dataset": dataset, "seed": seed}
    task |= {"augment": plan.augment}
    task |= {"data_dir": plan.data_dir, "checkpoint_every": max(1, plan.epochs // 10)}
    labels = {"model": model, "dataset": dataset, "variant": variant.label, "x": variant.x}
    given = {"epochs": plan.epochs, **variant.given, **task}
    return Cell(slug(variant.label, model, dataset, f"s{seed}"), given, variant.then, labels)


def keep(out: Path, name: str, plan: Plan, table: Table) -> None:
    """Writes what a target has come to: ``plan.json``, ``table.md`` and ``table.csv``."""
    files.write_record(out / "plan.json", {"target": name, **asdict(plan)})
    table.write(out)
