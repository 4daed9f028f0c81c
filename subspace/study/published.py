"""The papers' printed results, by (model, dataset, variant): mean ± standard deviation of 3 runs.

RBD: Gressmann, Eaton-Rosen, Luschi, NeurIPS 2020. DLDR: Li, Tan, Tao, Liu, Huang, TPAMI 2022.
"""

from __future__ import annotations

from itertools import product

_ROWS = tuple(product(("fc", "cnn"), ("mnist", "fashion_mnist", "cifar10")))


def _by_row(variants: tuple[str, ...], text: str) -> dict[tuple[str, str, str], str]:
    lines = [line.split() for line in text.strip().splitlines()]
    return {
        (*row, variant): value
        for row, line in zip(_ROWS, lines, strict=True)
        for variant, value in zip(variants, line, strict=True)
    }


TABLE_1 = _by_row(
    ("nes", "fpd", "rbd", "sgd"),
    """
    22.5±1.7 80±0.4    93.893±0.024 98.27±0.09
    45±6     77.3±0.29 85.65±0.2    87.32±0.21
    17.8±0.5 21.4±1.2  43.77±0.22   52.09±0.22
    51±6     88.9±0.6  97.17±0.1    99.41±0.09
    37±4     77.8±1.6  85.56±0.1    91.95±0.18
    20.3±1   37.2±0.8  54.64±0.33   81.4±0.4
    """,
)
"""Validation accuracy in %, d = 250, 100 epochs."""

TABLE_2 = _by_row(
    ("bernoulli_paper", "uniform", "normal"),
    """
    77.5±0.4   89.61±0.29 94.95±0.11
    76±0.6     81.7±0.14  85.26±0.2
    29.12±0.33 36.52±0.2  42.6±0.5
    67±6       87±6       96.75±0.18
    65.9±3.3   77.8±1.9   83.8±0.7
    28.5±0.6   41±1.4     52.3±0.9
    """,
)
"""Validation accuracy in %, d = 250, 100 epochs."""

TABLE_3 = {
    ("resnet8", "cifar10", variant): value
    for variant, value in {
        "sgd": "83.84±0.34",
        "rbd D/10": "70.26",
        "rbd D/25": "70.37",
        "rbd D/50": "65.42",
        "rbd D/100": "62.44",
        "fpd D/10": "58.35",
    }.items()
}
"""Validation accuracy in %, 80 epochs, ResNet-8 with d = 7,982, 3,328, 1,782, 1,018."""

TABLE_3_COSINES = (
    "The paper's cosine of a step with the gradient, a mean over tensors and steps: RBD "
    "0.42 ± 0.18, 0.40 ± 0.20, 0.38 ± 0.22, 0.38 ± 0.23 for D/10 to D/100, FPD 0.379. "
    "Ours: cosine leaves; analytic leaves: the mean of √(d/(d+n)) over tensors of n parameters."
)

DLDR = {
    ("resnet8", "cifar10", "dldr → psgd"): "85.18±0.20",
    ("resnet8", "cifar10", "sgd"): "83.84±0.34",
}
"""Test accuracy in %: 30 sampling epochs, then 40 of P-SGD in 15-D; SGD."""
