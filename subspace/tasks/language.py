"""Next-token prediction on text: bytes in, at each place the logits of the byte after it."""

from __future__ import annotations

import math
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from subspace.data import dataset, text
from subspace.tasks.base import AbstractTask, Metric
from subspace.tasks.images import cross_entropy


@final
class Language(AbstractTask):
    """Text as bytes, each predicted from those before it in a window."""

    metrics = (
        Metric("bits_per_byte"),
        Metric("loss", "nats"),
        Metric("accuracy", "%", maximise=True),
    )
    model: ClassVar[str] = "decoder"

    def prepare(self, inputs: Array) -> Array:
        return inputs.astype(jnp.int32)

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        figures = cross_entropy(output, target.astype(jnp.int32))
        means = {name: jnp.mean(each) for name, each in figures.items()}
        return means | {"bits_per_byte": means["loss"] * np.float32(1 / math.log(2))}

    def load(self, wanted: dataset.Wanted) -> dataset.Dataset:
        return text.load_text(wanted)
