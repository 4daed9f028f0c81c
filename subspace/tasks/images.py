"""Classification: of images, as the papers have it, and of anything else."""

from __future__ import annotations

from typing import ClassVar, final

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from subspace.data import arrays, augment, dataset
from subspace.tasks.base import AbstractTask, Metric

METRICS = (Metric("accuracy", "%", maximise=True), Metric("loss", "nats"))


def cross_entropy(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> dict[str, Float[Array, "*batch"]]:
    """Softmax cross-entropy in nats, and whether the largest logit is the label's."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    return {"loss": loss, "accuracy": right.astype(loss.dtype)}


@final
class ImageClassification(AbstractTask):
    """Images and labels, softmax cross-entropy, the papers' augmentation.

    Attributes:
        imagenet: colours are standardised by ImageNet's means and deviations, not by an image's.
    """

    metrics = METRICS
    augments: ClassVar[bool] = True
    dataset: ClassVar[str | None] = "digits"

    def __init__(self, imagenet: bool = False):
        self.imagenet = imagenet

    def prepare(self, inputs: Array) -> Array:
        return augment.prepare(inputs, self.imagenet)

    def augment(self, inputs: Array, keys: Key[Array, " batch"]) -> Array:
        return augment.augment(inputs, keys, self.imagenet)

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        return cross_entropy(output, target)

    def load(self, wanted: dataset.Wanted) -> dataset.Dataset:
        return dataset.load_images(wanted)


@final
class Classification(AbstractTask):
    """Examples of any shape and their classes, softmax cross-entropy."""

    metrics = METRICS

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        return cross_entropy(output, target)

    def load(self, wanted: dataset.Wanted) -> dataset.Dataset:
        return arrays.load_classes(wanted)
