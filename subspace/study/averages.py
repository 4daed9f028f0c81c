"""Variants of training that make something of a trajectory, and their rivals at the same cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subspace.study.target import Plan, Variant

_NOISE = (0.0, 0.2, 0.4)
_RATES = (0.03, 0.1, 0.3)
_SHORT = 3
"""Epochs, or gradients over the training split, that a phase on a trajectory may cost."""


def dldr(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    """P-SGD as published beside SGD of as many epochs, and P-SGD as it is here."""
    chart = {"method": "psgd", "dim": _dim(plan), "epochs": 2 if plan.quick else 40}
    total = plan.epochs + chart["epochs"]
    drops = (total // 2, 3 * total // 4)
    return [
        Variant("dldr → psgd", {"method": "dldr"}, [{**chart, "preset": "paper"}]),
        Variant("dldr → psgd, by variance", {"method": "dldr"}, [chart]),
        Variant("sgd", {"method": "dldr", "epochs": total, "milestones": drops}),
    ]


def rivals(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    """What is made of a trajectory, and SGD with a cosine schedule, SWA and EMA, at equal cost."""
    return list(_at_equal_cost(plan, {}))


def label_noise(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    """The same where a fraction c of the labels is wrong, and RBD."""
    rows: list[Variant] = []
    for noise in _NOISE:
        given = {"label_noise": noise}
        label = f" c={noise:g}"
        rows.append(Variant(f"rbd{label}", given | {"method": "rbd"}, x=noise))
        rows += _at_equal_cost(plan, given, label, noise)
    return rows


def _at_equal_cost(
    plan: Plan, given: Mapping[str, Any], label: str = "", x: float | None = None
) -> Iterator[Variant]:
    shared, total = {"method": "dldr", "milestones": (), **given}, plan.epochs + _SHORT
    for rate in (0.1,) if plan.quick else _RATES:
        named, sampled = f" lr={rate:g}{label}", shared | {"learning_rate": rate}
        rival = sampled | {"epochs": total}
        yield Variant(f"sgd cosine{named}", rival | {"schedule": "cosine"}, x=x)
        for average in ("swa", "ema"):
            yield Variant(f"{average}{named}", rival | {"average": average}, x=x)
        for phase in _phases(plan):
            yield Variant(f"dldr → {phase['method']}{named}", sampled, [phase], x=x)


def _phases(plan: Plan) -> list[dict[str, Any]]:
    dim, batch_size = _dim(plan), 256 if plan.quick else 1024
    return [
        {"method": "psgd", "dim": dim, "epochs": _SHORT, "milestones": (2,)},
        {"method": "pbfgs", "dim": dim, "epochs": 1, "batch_size": batch_size, "until_flat": True},
        {"method": "twa", "epochs": _SHORT, "tail": 2 if plan.quick else None},
    ]


def _dim(plan: Plan) -> int:
    return min(15, plan.epochs)
