"""The sizes of a pretrained model, from its config.json as Hugging Face writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subspace import files
from subspace.errors import InvalidInput
from subspace.models.bert import BertShape
from subspace.pretrained import CONFIG

_POOLING = Path("1_Pooling") / CONFIG


def sizes(folder: Path, field: str, pooling: str | None = None) -> BertShape:
    """The sizes that a folder's model has.

    Args:
        folder: see `subspace.pretrained.folder_of`.
        field: that named it.
        pooling: what the head sees; by default what the folder says, else the mean.

    Raises:
        InvalidInput: it isn't of the BERT family, or its config.json lacks something.
    """
    config = _read(folder / CONFIG, field)
    kind = config.get("model_type")
    unlike = {
        "model_type": kind != "bert",
        "hidden_act": config.get("hidden_act", "gelu") != "gelu",
        "position_embedding_type": config.get("position_embedding_type", "absolute") != "absolute",
    }
    for name, odd in unlike.items():
        if odd:
            said = f"{folder} has the {name} {config.get(name)!r}"
            raise InvalidInput(field, f"{said}; what can be loaded is bert, gelu, absolute")
    try:
        return BertShape(
            vocabulary=int(config["vocab_size"]),
            width=int(config["hidden_size"]),
            depth=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            inner=int(config["intermediate_size"]),
            positions=int(config["max_position_embeddings"]),
            types=int(config["type_vocab_size"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            pad=int(config.get("pad_token_id") or 0),
            pooling=pooling or _pooling(folder, config, field),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(field, f"{folder / CONFIG} is damaged: {error}") from None


def _pooling(folder: Path, config: dict[str, Any], field: str) -> str:
    if (folder / _POOLING).is_file():
        return "cls" if _read(folder / _POOLING, field).get("pooling_mode_cls_token") else "mean"
    named = " ".join(map(str, config.get("architectures") or []))
    return "cls" if "SequenceClassification" in named else "mean"


def _read(file: Path, field: str) -> dict[str, Any]:
    return files.parsed(files.read(file, field), file, field)
