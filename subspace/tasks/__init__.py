"""What can be trained, by name: put your own in ``TASKS``."""

from __future__ import annotations

import inspect

from subspace.tasks.base import AbstractTask, Metric
from subspace.tasks.custom import Custom
from subspace.tasks.images import Classification, ImageClassification
from subspace.tasks.language import Language
from subspace.tasks.regression import Regression
from subspace.tasks.text import TextClassification

TASKS: dict[str, AbstractTask] = {
    "images": ImageClassification(),
    "imagenet_images": ImageClassification(imagenet=True),
    "classification": Classification(),
    "text": TextClassification(),
    "language": Language(),
    "regression": Regression(),
}


def description(task: AbstractTask) -> str:
    """One line for people."""
    return (inspect.getdoc(type(task)) or "").partition("\n")[0].rstrip(".")


__all__ = [
    "TASKS",
    "AbstractTask",
    "Classification",
    "Custom",
    "ImageClassification",
    "Language",
    "Metric",
    "Regression",
    "TextClassification",
    "description",
]
