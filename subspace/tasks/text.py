"""Classification of texts: token ids in, the logits of their classes out."""

from __future__ import annotations

from typing import Any, ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace import models
from subspace.data import sentences
from subspace.data.dataset import Dataset, Wanted
from subspace.errors import InvalidInput
from subspace.models import hugging_face
from subspace.models.bert import BertShape
from subspace.tasks.base import AbstractTask, Like
from subspace.tasks.images import METRICS, cross_entropy


@final
class TextClassification(AbstractTask):
    """Texts and their classes, as token ids, softmax cross-entropy."""

    metrics = METRICS
    model: ClassVar[str] = "bert"

    def prepare(self, inputs: Array) -> Array:
        return inputs.astype(jnp.int32)

    def score(self, output: Array, target: Array) -> dict[str, Float[Array, ""]]:
        return cross_entropy(output, target)

    def load(self, wanted: Wanted) -> Dataset:
        return sentences.load_sentences(wanted)

    def build(self, model: str, dataset: Dataset, key: PRNGKeyArray) -> tuple[Any, Any]:
        return self.build_like(Like(), model, dataset, key)

    def build_like(
        self, like: Like, model: str, dataset: Dataset, key: PRNGKeyArray
    ) -> tuple[Any, Any]:
        """As `AbstractTask.build_like`.

        Raises:
            InvalidInput: the model has fewer tokens than the tokenizer.
        """
        if model != "bert":
            raise InvalidInput("model", f"{model} doesn't take texts; use bert")
        assert dataset.vocabulary is not None
        shape = BertShape(dataset.vocabulary, pooling=like.pooling or "mean")
        if like.folder is not None:
            shape = hugging_face.sizes(like.folder, "architecture", like.pooling)
        if dataset.vocabulary > shape.vocabulary:
            said = f"has {dataset.vocabulary} tokens, the model {shape.vocabulary}; use the model's"
            raise InvalidInput("tokenizer", said)
        return models.build(model, dataset.shape, dataset.outputs, key=key, shape=shape)
