"""Wrong labels, for experiments on memorisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from subspace.data.dataset import Dataset
from subspace.errors import InvalidInput

_NOISE = 0x6E6F697365  # "noise": draws of the seed's own


def with_label_noise(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The dataset with some training labels replaced by other classes.

    ``round(fraction · N)`` of the training examples, a random choice, each get one of the other
    classes with equal probability, as in the DLDR paper (whose code corrupts the first ones, and
    may draw the true class). Validation and test labels stay.

    Args:
        fraction: from 0 up to 1.
        seed: of the choice and of the classes.

    Raises:
        InvalidInput: the fraction is out of range, or there is no other class.
    """
    if not 0 <= fraction < 1:
        raise InvalidInput("label_noise", f"is a fraction of the labels, 0 up to 1, got {fraction}")
    if not fraction:
        return dataset
    if dataset.train.targets.ndim != 1 or dataset.train.targets.dtype.kind != "i":
        raise InvalidInput("label_noise", f"{dataset.name} has no classes; leave it out")
    if dataset.outputs < 2:
        raise InvalidInput("label_noise", f"{dataset.name} has one class only; leave it out")
    train = dataset.train
    rng = np.random.default_rng((seed, _NOISE))
    chosen = rng.permutation(len(train.targets))[: round(fraction * len(train.targets))]
    shift = rng.integers(1, dataset.outputs, size=len(chosen))
    labels = train.targets.copy()
    labels[chosen] = (labels[chosen] + shift) % dataset.outputs
    labels.flags.writeable = False
    return replace(dataset, train=train._replace(targets=labels))
