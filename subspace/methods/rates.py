"""Defaults per (method, model, dataset): one table, shown by ``subspace list``."""

from __future__ import annotations

from typing import NamedTuple

from subspace.data.same import images_of


class Default(NamedTuple):
    """``method``, ``model`` or ``dataset`` may be ``"*"``: the first row that matches wins."""

    method: str
    model: str
    dataset: str
    learning_rate: float
    source: str


_RBD = "RBD supplement, table 4"
_DLDR = "DLDR paper"
_OURS = "ours, by validation loss"
_SGD = "RBD supplement, table 4, base rate × batch size 32"

LEARNING_RATES: tuple[Default, ...] = (
    Default("rbd", "fc", "mnist", 2.0**1, _RBD),
    Default("rbd", "fc", "fashion_mnist", 2.0**-1, _RBD),
    Default("rbd", "fc", "cifar10", 2.0**-5, _RBD),
    Default("rbd", "cnn", "mnist", 2.0**-1, _RBD),
    Default("rbd", "cnn", "fashion_mnist", 2.0**-3, _RBD),
    Default("rbd", "cnn", "cifar10", 2.0**-3, _RBD),
    Default("rbd", "resnet8", "*", 1.0, "ours; the paper's 8 goes with --scale paper"),
    Default("fpd", "fc", "mnist", 2.0**-1, _RBD),
    Default("fpd", "fc", "fashion_mnist", 2.0**-1, _RBD),
    Default("fpd", "fc", "cifar10", 2.0**-5, _RBD),
    Default("fpd", "cnn", "mnist", 2.0**-3, _RBD),
    Default("fpd", "cnn", "fashion_mnist", 2.0**-1, _RBD),
    Default("fpd", "cnn", "cifar10", 2.0**-1, _RBD),
    Default("sgd", "fc", "mnist", 2.0**-3, _SGD),
    Default("sgd", "fc", "fashion_mnist", 2.0**-2, _SGD),
    Default("sgd", "fc", "cifar10", 2.0**-7, _SGD),
    Default("sgd", "cnn", "mnist", 2.0**-5, _SGD),
    Default("sgd", "cnn", "fashion_mnist", 2.0**-4, _SGD),
    Default("sgd", "cnn", "cifar10", 2.0**-6, _SGD),
    Default("sgd", "resnet8", "*", 2.0**2, _SGD),
    Default("rbd+feedback", "fc", "fashion_mnist", 2.0**-4, _OURS),
    Default("rbd+feedback", "cnn", "cifar10", 2.0**-5, _OURS),
    Default("rbd+feedback", "fc", "digits", 2.0**-3, _OURS),
    Default("sgd", "fc", "digits", 2.0**-3, _OURS),
    Default("rbd", "fc", "digits", 2.0**2, _OURS),
    Default("fpd", "fc", "digits", 2.0**2, _OURS),
    Default("fpd+adam", "bert", "*", 0.01, _OURS),
    Default("sgd+adam", "bert", "*", 2e-4, _OURS),
    Default("sgd+adam", "*", "*", 1e-3, "Adam's own"),
    Default("rbd+adam", "*", "*", 1e-2, "a careful guess"),
    Default("rbd+feedback+adam", "*", "*", 1e-3, "Adam's own"),
    Default("fpd+adam", "*", "*", 1e-3, "Adam's own"),
    Default("psgd+adam", "*", "*", 0.1, "a careful guess"),
    Default("psgd+identity+adam", "*", "*", 0.1, "a careful guess"),
    Default("twa+adam", "*", "*", 0.01, "a careful guess"),
    Default("sgd", "*", "*", 2.0**-4, "a careful guess"),
    Default("rbd+feedback", "*", "*", 2.0**-5, "a careful guess"),
    Default("rbd", "*", "*", 2.0**-1, "a careful guess"),
    Default("fpd", "*", "*", 2.0**-1, "a careful guess"),
    Default("nes", "*", "*", 2.0**-2, "a careful guess"),
    Default("hylo", "*", "*", 2.0**-6, "a careful guess"),
    Default("sngd", "*", "*", 2.0**-6, "a careful guess"),
    Default("kfac", "*", "*", 2.0**-6, "a careful guess"),
    Default("dldr", "*", "*", 0.1, _DLDR),
    Default("psgd", "*", "*", 0.1, _OURS),
    Default("twa", "*", "*", 0.1, _OURS),
    Default("psgd+identity", "*", "*", 1.0, _DLDR),
)

EPOCHS = {"digits": 30}


def learning_rate(method: str, model: str, dataset: str) -> Default:
    """The row of `LEARNING_RATES` for a run; the method by `Method.rate_name`."""
    name = dataset.split(":")[0]
    wanted = (method, model, images_of(name))
    for row in LEARNING_RATES:
        if all(have in ("*", want) for have, want in zip(row, wanted, strict=False)):
            return row
    return Default(method, "*", "*", 2.0**-4, "a careful guess")


def epochs(dataset: str) -> int:
    return EPOCHS.get(dataset, 10)


def augment(dataset: str) -> bool:
    """The papers augment all their data; 8×8 digits lose by it, and of your own nobody knows."""
    return dataset != "digits" and not dataset.startswith(("folder:", "npz:"))
