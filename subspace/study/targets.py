"""The papers' tables and figures that are made of runs, by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from subspace.study import averages, published
from subspace.study.target import Plan, Target, Variant

_ALL = ("mnist", "fashion_mnist", "cifar10")
_BOTH = ("fc", "cnn")
_BASES = ("bernoulli_paper", "uniform", "normal", "rademacher", "hadamard", "coordinate")
_FRACTIONS = {10: 7833, 25: 3133, 50: 1567, 100: 783}
"""D/f of table 3 on ResNet-8; shared out and rounded up that is 7,982, 3,328, 1,782 and 1,018."""
_LEAVES: dict[str, Any] = {"compartments": "leaf", "allocate": "proportional"}
_RATES_BY_DIM = {10: 2.0**-1, 100: 2.0**-2, 1000: 2.0**-3, 10_000: 2.0**-5}
_SWITCHES = (1, 2, 5, 10, 25, 50, 75)


def _table1(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    dim = 20 if plan.quick else 250
    rows = [Variant(method, {"method": method}) for method in ("fpd", "rbd", "sgd")]
    # each direction of NES has 32 images of its own, so that an epoch is few steps
    shares = {"dim": dim, "batch_size": 32 * dim, "separate_batches": True}
    return [*rows, Variant("nes", {"method": "nes"} | shares)]


def _table2(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    dim = {"dim": 50 if plan.quick else 250}
    drawn = {basis: {"method": "rbd", "basis": basis} for basis in _BASES}
    drawn["normal"] = {"method": "rbd_in_law"}  # the same steps, at SGD's speed
    return [Variant(basis, given | dim) for basis, given in drawn.items()]


def _table3(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    shared = _LEAVES | {"diagnose": 20 if plan.quick else 500}
    if model == "resnet8":  # the paper's learning rate goes with its lengths
        shared |= {"scale": "paper", "learning_rate": 8.0}
    dims = _FRACTIONS if model == "resnet8" else {f: 5000 // f for f in _FRACTIONS}
    sizes = [("rbd", f, dim) for f, dim in dims.items()] + [("fpd", 10, dims[10])]
    rows = [Variant("sgd", {"method": "sgd"})]
    return rows + [
        Variant(f"{method} D/{f}", shared | {"method": method, "dim": dim}, x=dim)
        for method, f, dim in sizes
    ]


def _by_dim(
    dims: Sequence[int], quick: Sequence[int], plan: Plan, model: str, dataset: str
) -> Sequence[Variant]:
    rows = [Variant("sgd", {"method": "sgd"})]
    for dim in quick if plan.quick else dims:
        rate = {} if plan.quick else {"learning_rate": _RATES_BY_DIM.get(dim)}
        rows.append(Variant(f"rbd d={dim}", {"method": "rbd", "dim": dim} | rate, x=dim))
    return rows


def _compartments(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    shared = {"method": "rbd", "dim": 100 if plan.quick else 1250}
    kinds = {"whole": "split", "layer": "split", "leaf": "proportional", "even:5": "split"}
    return [
        Variant(kind, shared | {"compartments": kind, "allocate": allocate})
        for kind, allocate in kinds.items()
    ]


def _hybrid(plan: Plan, model: str, dataset: str) -> Sequence[Variant]:
    rows = [Variant(method, {"method": method}) for method in ("rbd", "sgd")]
    for first, second in (("rbd", "sgd"), ("sgd", "rbd")):
        for epochs in (q for q in _SWITCHES if q < plan.epochs):
            then = {"method": second, "epochs": plan.epochs - epochs}
            given = {"method": first, "epochs": epochs}
            rows.append(Variant(f"{first} {epochs} → {second}", given, [then], x=epochs))
    return rows


_RESNET: dict[str, Any] = {"models": ("resnet8",), "datasets": ("cifar10",)}

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "table1",
            "RBD, table 1",
            "NES, FPD, RBD and SGD at d = 250",
            _table1,
            _ALL,
            _BOTH,
            100,
            published.TABLE_1,
        ),
        Target(
            "table2",
            "RBD, table 2",
            "distributions of the random directions",
            _table2,
            _ALL,
            _BOTH,
            100,
            published.TABLE_2,
        ),
        Target(
            "table3",
            "RBD, table 3",
            "ResNet-8 with D/10 to D/100 directions, and their cosine with the gradient",
            _table3,
            **_RESNET,
            epochs=80,
            published=published.TABLE_3,
            x_label="d",
            measures=("cosine_leaves", "analytic_leaves", "cosine", "analytic"),
            remark=published.TABLE_3_COSINES,
        ),
        Target(
            "dimension",
            "RBD, figure B.7",
            "RBD's accuracy against d",
            partial(_by_dim, (10, 100, 1000, 10_000), (5, 50, 500)),
            _ALL,
            _BOTH,
            100,
            x_label="d",
        ),
        Target(
            "low-dimension",
            "RBD, figures B.13 and B.14",
            "RBD with 2, 10 and 50 directions, trained for long",
            partial(_by_dim, (2, 10, 50), (2, 10)),
            ("fashion_mnist",),
            _BOTH,
            2000,
            x_label="d",
            quick={"epochs": 6},
        ),
        Target(
            "compartments",
            "RBD, figures 4, B.9 and B.10",
            "directions for the whole network, or for its parts",
            _compartments,
            _ALL,
            ("cnn",),
            100,
        ),
        Target(
            "hybrid",
            "RBD, figures 3, B.11 and B.12",
            "RBD, then SGD, and the reverse",
            _hybrid,
            ("fashion_mnist", "cifar10"),
            ("cnn",),
            100,
            x_label="epochs before the switch",
        ),
        Target(
            "dldr",
            "DLDR, ResNet-8 in 15 directions",
            "SGD in the principal directions of a trajectory, beside SGD of as many epochs",
            averages.dldr,
            **_RESNET,
            epochs=30,
            published=published.DLDR,
            quick={"epochs": 6},
        ),
        Target(
            "averages",
            "DLDR and TWA beside SWA, EMA and a cosine schedule",
            "P-SGD, P-BFGS and TWA on a trajectory, and their rivals at equal cost",
            averages.rivals,
            **_RESNET,
            epochs=30,
            quick={"epochs": 6},
        ),
        Target(
            "label-noise",
            "DLDR, wrong labels",
            "what is made of a trajectory, SGD and RBD where a fraction c of the labels is wrong",
            averages.label_noise,
            **_RESNET,
            epochs=30,
            x_label="fraction of wrong labels",
            quick={"epochs": 4},
        ),
    )
}
