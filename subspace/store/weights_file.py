"""Weights in a safetensors file: arrays by name, and no code."""

from __future__ import annotations

import base64
import json
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subspace import files
from subspace.errors import InvalidInput
from subspace.models import foreign
from subspace.store import proof
from subspace.store.checkpoint import named
from subspace.store.weights import Weights

_STATE, _DIGEST, _PACKED = "state.", "digest", "packed"
_MOST = 1 << 24  # bytes that a file says of itself


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


def write(
    file: Path,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    small: bool = False,
    over: bool = False,
) -> None:
    """Makes a file as a whole; ``about`` is kept beside the arrays as JSON, with a digest.

    With ``small`` that JSON is compressed; with ``over`` a file that is there is replaced.
    """
    from safetensors.numpy import save

    if not over:
        check_free(file)
    content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {**about, _DIGEST: _digest(content, about)}
    if small:
        text = json.dumps(about, separators=(",", ":")).encode()
        texts = {_PACKED: base64.b85encode(zlib.compress(text, 9)).decode()}
    else:
        texts = {name: json.dumps(value) for name, value in about.items()}
    data = save(content, texts)
    try:
        files.replace(file, data)
    except OSError as error:
        raise InvalidInput("out", f"can't write {file}: {error.strerror}") from None


def write_whole(file: Path, weights: Weights, model: str, over: bool = False) -> None:
    """All D numbers and the model's state, as ``--init-from`` takes them."""
    write(file, arrays_of(weights), {"model": model}, over=over)


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
        about = {name: json.loads(text) for name, text in _unpacked(texts) if name != "format"}
        # without any word about itself it is another program's
        if about and about.pop(_DIGEST, None) != _digest(arrays, about):
            raise ValueError("it isn't what was written")
        return Content(arrays, about)
    except (AttributeError, KeyError) as error:  # a type that NumPy has no name for
        raise InvalidInput(
            field, f"{file} has numbers of a type that can't be read here ({error}); save float32"
        ) from None
    except (
        SafetensorError,
        ValueError,
        TypeError,
        OSError,
        RecursionError,
        MemoryError,
        zlib.error,
    ) as error:
        raise InvalidInput(field, f"{file} is damaged, or no safetensors file: {error}") from None


def _unpacked(texts: dict[str, str]) -> list[tuple[str, str]]:
    """What a file says of itself, by name, as JSON."""
    if _PACKED not in texts:
        return list(texts.items())
    whole = zlib.decompressobj()
    text = whole.decompress(base64.b85decode(texts[_PACKED]), _MOST)
    if not whole.eof:
        raise ValueError("what it says of itself is cut short, or too long")
    return [(name, json.dumps(value)) for name, value in json.loads(text).items()]


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    return files.digest([proof.digest(arrays), about])


def _check_names(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Any], file: Path, field: str
) -> None:
    """Raises InvalidInput where a file has what a model hasn't; says what it lacks, too."""
    unknown = sorted(arrays.keys() - wanted.keys())
    if arrays and not unknown:
        return
    missing = sorted(wanted.keys() - arrays.keys())
    near = foreign.nearest(unknown[0], missing) if unknown else ""
    said = f"{file} has {_listed(unknown)}, which the model hasn't{near}"
    if missing:
        said += f", and lacks {_listed(missing)}"
    raise InvalidInput(field, f"{said}; use its --model")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + more


def filled(
    arrays: Mapping[str, np.ndarray],
    like: Weights,
    file: Path,
    field: str,
    new_head: bool = False,
) -> Weights:
    """The arrays in a model's places; what the file lacks stays, with a warning.

    Args:
        arrays: by our names, or by those of a library that `subspace.models.foreign` knows.
        like: the model's weights.
        file: they are from.
        field: that named it.
        new_head: leave the last layer as it is.

    Raises:
        InvalidInput: the file has an array that the model hasn't, or of another shape.
    """
    wanted = arrays_of(like)
    shapes = {name: array.shape for name, array in wanted.items()}
    if arrays and foreign.is_foreign(arrays, shapes):
        arrays = foreign.translated(arrays, shapes, str(file), field)
    head = foreign.head_of(shapes)
    if new_head:
        arrays = {name: array for name, array in arrays.items() if name not in head}
    _check_names(arrays, shapes, file, field)
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            afresh = "--new-head starts it" if name in head else "take it out, and it starts"
            said = f"{file} has {name} of shape {array.shape}, the model {wanted[name].shape}"
            raise InvalidInput(field, f"{said}; {afresh} afresh")
    missing = sorted(wanted.keys() - arrays.keys() - set(head if new_head else ()))
    if missing:
        warnings.warn(f"not in {file}, so they start afresh: {', '.join(missing)}", stacklevel=2)

    def part(tree: Any, prefix: str) -> Any:
        leaves = [
            jnp.asarray(arrays[prefix + name], leaf.dtype) if prefix + name in arrays else leaf
            for name, leaf in named(tree).items()
        ]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    return Weights(part(like.params, ""), part(like.model_state, _STATE))
