"""Weights in a safetensors file: arrays by name, and no code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subspace import files
from subspace.errors import InvalidInput
from subspace.store import proof
from subspace.store.checkpoint import named
from subspace.store.weights import Weights

_STATE, _DIGEST = "state.", "digest"


class Content(NamedTuple):
    """What a file holds."""

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


def arrays_of(weights: Weights) -> dict[str, np.ndarray]:
    """Parameters by their path, the model's state behind ``"state."``."""
    state = {_STATE + name: leaf for name, leaf in named(weights.model_state).items()}
    return {name: np.asarray(leaf) for name, leaf in (named(weights.params) | state).items()}


def check_free(file: Path) -> None:
    """Raises InvalidInput unless such a file can be made there."""
    files.check_new(file, ".safetensors")


def write(file: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Makes a file as a whole; ``about`` is kept beside the arrays as JSON, with a digest."""
    from safetensors.numpy import save

    check_free(file)
    content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {**about, _DIGEST: _digest(content, about)}
    data = save(content, {name: json.dumps(value) for name, value in about.items()})
    try:
        files.replace(file, data)
    except OSError as error:
        raise InvalidInput("out", f"can't write {file}: {error.strerror}") from None


def read(file: Path, field: str) -> Content:
    """All of a file.

    Raises:
        InvalidInput: of ``field``: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    files.size_of(file, field)
    try:
        with safe_open(file, "numpy") as opened:
            texts = opened.metadata() or {}
            names = opened.keys()
            arrays = {name: opened.get_tensor(name) for name in names}
        # PyTorch's files say which library wrote them, and not as JSON.
        about = {name: json.loads(text) for name, text in texts.items() if name != "format"}
        # without any word about itself it is another program's
        if about and about.pop(_DIGEST, None) != _digest(arrays, about):
            raise ValueError("it isn't what was written")
        return Content(arrays, about)
    except (AttributeError, KeyError) as error:  # a type that NumPy has no name for
        raise InvalidInput(
            field, f"{file} has numbers of a type that can't be read here ({error}); save float32"
        ) from None
    except (SafetensorError, ValueError, TypeError, OSError, RecursionError, MemoryError) as error:
        raise InvalidInput(field, f"{file} is damaged, or no safetensors file: {error}") from None


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    return files.digest([proof.digest(arrays), about])


def filled(arrays: Mapping[str, np.ndarray], like: Weights, file: Path, field: str) -> Weights:
    """The arrays in a model's places; what the file lacks stays, with a warning.

    Raises:
        InvalidInput: the file has an array that the model hasn't, or of another shape.
    """
    wanted = arrays_of(like)
    unknown = sorted(arrays.keys() - wanted.keys())
    if unknown or not arrays:
        some = ", ".join(unknown[:3]) or "nothing"
        raise InvalidInput(field, f"{file} has {some}, which isn't of this model; use its --model")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            raise InvalidInput(
                field,
                f"{file} has {name} of shape {array.shape}, the model {wanted[name].shape}; take "
                "it out of the file, and it starts afresh",
            )
    missing = sorted(wanted.keys() - arrays.keys())
    if missing:
        warnings.warn(f"not in {file}, so they start afresh: {', '.join(missing)}", stacklevel=2)

    def part(tree: Any, prefix: str) -> Any:
        leaves = [
            jnp.asarray(arrays[prefix + name], leaf.dtype) if prefix + name in arrays else leaf
            for name, leaf in named(tree).items()
        ]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    return Weights(part(like.params, ""), part(like.model_state, _STATE))
