"""A small model with batch normalisation, by the name ``normed``."""

from __future__ import annotations

import equinox as eqx
import jax
import pytest

from subspace import models
from subspace.models.norm import BatchNorm


class Normed(eqx.Module):
    """Batch normalisation of the pixels' channels, and a linear layer."""

    norm: BatchNorm
    weight: jax.Array

    def __init__(self, in_shape, classes, *, key):
        self.norm = BatchNorm.of(in_shape[-1])
        height, width, channels = in_shape
        self.weight = 0.01 * jax.random.normal(key, (height * width * channels, classes))

    def __call__(self, image, state):
        normed, state = self.norm(image, state)
        return normed.reshape(-1) @ self.weight, state


@pytest.fixture
def normed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.MODELS, "normed", models.ModelEntry("", Normed))
