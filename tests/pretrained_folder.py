"""A pretrained model in Hugging Face's layout, small, whose weights a formula gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, DEPTH, HEADS, INNER, WORDS, POSITIONS = 8, 2, 2, 12, 257, 32
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "vocab_size": WORDS,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def shapes(classes: int | None = 3) -> dict[str, tuple[int, ...]]:
    """Names and shapes as Hugging Face has them."""
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_norm("embeddings.LayerNorm"),
        **_dense("pooler.dense", WIDTH, WIDTH),
    }
    for i in range(DEPTH):
        at = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            found |= _dense(f"{at}.attention.self.{part}", WIDTH, WIDTH)
        found |= _dense(f"{at}.attention.output.dense", WIDTH, WIDTH)
        found |= _norm(f"{at}.attention.output.LayerNorm")
        found |= _dense(f"{at}.intermediate.dense", WIDTH, INNER)
        found |= _dense(f"{at}.output.dense", INNER, WIDTH)
        found |= _norm(f"{at}.output.LayerNorm")
    whole = {f"bert.{name}": shape for name, shape in found.items()}
    return whole if classes is None else whole | _dense("classifier", WIDTH, classes)


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def arrays(classes: int | None = 3) -> dict[str, np.ndarray]:
    """Numbers that differ everywhere, alike on every machine."""
    found = {}
    for number, (name, shape) in enumerate(shapes(classes).items()):
        # neither periodic nor smooth in the place, so that words differ
        waves = np.sin(0.7 * np.arange(np.prod(shape), dtype=np.float64) ** 1.5 + 1.3 * number)
        if name.endswith("LayerNorm.weight"):
            waves = 1 + 0.1 * waves
        elif name.endswith("bias"):
            waves *= 0.1
        found[name] = waves.astype(np.float32).reshape(shape)
    return found


def write(folder: Path, classes: int | None = 3, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    counter = {"bert.embeddings.position_ids": np.arange(POSITIONS)[None]}
    save_file(arrays(classes) | counter, folder / "model.safetensors")
    return folder
