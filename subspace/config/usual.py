"""What a run's task, data and pretrained model say of the fields that aren't given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subspace import pretrained
from subspace.errors import InvalidInput, lookup
from subspace.methods import rates
from subspace.tasks import TASKS


def usual(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's task says of model, dataset and augmentation."""
    texts = str(given.get("dataset", "")).startswith("text:")
    name = given.get("task", "text" if texts else "images")
    task = lookup("task", name, TASKS)
    dataset = given.get("dataset", task.dataset)
    if dataset is None:
        what = {"language": "file:PATH", "text": "text:DIR"}.get(name, "npz:FILE")
        raise InvalidInput("dataset", f"say which {name} is to be trained on, such as {what}")
    augment = task.augments and rates.augment(dataset)
    found = {"task": name, "model": task.model, "dataset": dataset, "augment": augment}
    return found | (_pretrained(given) if name == "text" else {})


def _pretrained(given: Mapping[str, Any]) -> dict[str, Any]:
    """The pretrained model whose sizes, and tokenizer, a run takes by default."""
    start = given.get("init_from")
    found = given.get("architecture") or (
        start if pretrained.folder_of(start, "init_from") is not None else None
    )
    if found is None:
        return {}
    has = (pretrained.model_in(found, "architecture") / pretrained.TOKENIZER).is_file()
    return {"architecture": found} | ({"tokenizer": found} if has else {})
