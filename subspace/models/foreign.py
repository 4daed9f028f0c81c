"""Weights of other libraries under our names: PyTorch's and Hugging Face's, family by family.

Arrays are NumPy's, by their names in a file. PyTorch keeps a dense layer's weight as (outputs,
inputs) and a convolution's as (outputs, inputs, rows, columns); ours have the inputs first, and
last the outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from subspace.errors import InvalidInput

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]

_BERT = (
    (r"embeddings\.word_embeddings\.weight", "embeddings.words"),
    (r"embeddings\.position_embeddings\.weight", "embeddings.positions"),
    (r"embeddings\.token_type_embeddings\.weight", "embeddings.types"),
    (r"embeddings\.LayerNorm\.", "embeddings.norm."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.", r"layers.\1.\2."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.mix."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"layers.\1.first_norm."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.widen."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.narrow."),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"layers.\1.second_norm."),
    (r"pooler\.dense\.", "pooler."),
    (r"classifier\.", "head."),
)
_NOT_OURS = re.compile(r"(bert\.)?(embeddings\.position_ids|cls\.)|.*\.num_batches_tracked")
"""What such files hold besides: counters, and the heads of pretraining."""

_RANKS = {"conv": 0, "bn": 1, "downsample": 8, "shortcut": 8, "fc": 9, "linear": 9, "classifier": 9}
"""Where a module of PyTorch's ResNet and VGG classes stands among its neighbours."""


class _Layer(NamedTuple):
    """A layer with weights: their names by what they are, of which kind."""

    name: str
    kind: str
    names: dict[str, str]


def is_foreign(arrays: Arrays, wanted: Shapes) -> bool:
    """Whether names are another library's: none of them is the model's."""
    return not arrays.keys() & wanted.keys()


def translated(arrays: Arrays, wanted: Shapes, where: str, field: str) -> dict[str, np.ndarray]:
    """Another library's arrays under the model's names, as the model lays them out.

    Args:
        arrays: of a file: a BERT of Hugging Face's, or a ResNet or VGG as PyTorch's classes name
            their layers (``layer1.0.conv1.weight``, ``features.0.weight``), batch norm's running
            statistics among them.
        wanted: the model's names and shapes, in its order, its state's behind ``"state."``.
        where: they are from, for people.
        field: that named the file.

    Raises:
        InvalidInput: they are of no family that is known, or of another network.
    """
    kept = {name: array for name, array in arrays.items() if not _NOT_OURS.fullmatch(name)}
    if any("encoder.layer." in name for name in kept):
        return _of_bert(kept, wanted)
    theirs, ours = _their_layers(kept), _our_layers(wanted)
    if not theirs:
        return kept  # whatever it is
    if [one.kind for one in theirs] != [one.kind for one in ours]:
        raise InvalidInput(field, _other_network(theirs, ours, where))
    found: dict[str, np.ndarray] = {}
    for one, other in zip(theirs, ours, strict=True):
        for what, name in other.names.items():
            if what in one.names:
                found[name] = _laid_out(kept[one.names[what]])
    left = set(kept) - {name for one in theirs for name in one.names.values()}
    return found | {name: kept[name] for name in left}


def _of_bert(arrays: Arrays, wanted: Shapes) -> dict[str, np.ndarray]:
    found = {}
    for name, array in arrays.items():
        ours = name.removeprefix("bert.")
        for pattern, replacement in _BERT:
            ours = re.sub(f"^{pattern}", replacement, ours)
        dense = ours.endswith(".weight") and array.ndim == 2
        if ours.startswith("pooler.") and ours not in wanted:
            continue  # the mean of all tokens goes by it
        found[ours] = array.T if dense else array
    return found


def _laid_out(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _by_layer(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Names by what they are, such as ``weight``, of each layer in its order."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        prefix, _, what = name.rpartition(".")
        groups.setdefault(prefix, {})[what] = name
    return groups


def _parameters(wanted: Shapes) -> list[str]:
    return [name for name in wanted if not name.startswith("state.")]


def _their_layers(arrays: Arrays) -> list[_Layer]:
    groups, layers = _by_layer(arrays), []
    for prefix in sorted(groups, key=_place):
        names = groups[prefix]
        if "weight" not in names:
            continue
        if arrays[names["weight"]].ndim == 1:
            parts = {"weight": "scale", "bias": "shift"}
            named = {parts.get(what, what): name for what, name in names.items()}
            layers.append(_Layer(prefix, "normalisation", named))
        else:
            kind = "convolution" if arrays[names["weight"]].ndim == 4 else "dense layer"
            layers.append(_Layer(prefix, kind, names))
    return layers


def _place(name: str) -> tuple[tuple[int, int], ...]:
    """By which modules sort as they follow each other: first by what they are, then by number."""
    words = []
    for word in name.split("."):
        text, number = re.fullmatch(r"(\D*)(\d*)", word).groups() if word else ("", "")  # pyright: ignore
        if text in ("conv", "bn"):  # conv1, bn1, conv2, bn2
            words.append((0, 2 * int(number or 1) + _RANKS[text]))
        elif text == "layer":
            words.append((1, int(number or 0)))
        else:
            words.append((_RANKS.get(text, 1), int(number or 0)))
    return tuple(words)


def _our_layers(wanted: Shapes) -> list[_Layer]:
    layers, norms = [], 0
    for prefix, names in _by_layer(_parameters(wanted)).items():
        if "scale" in names:  # the state holds running statistics in the order of their layers
            state = {"running_mean": f"state.{norms}.0", "running_var": f"state.{norms}.1"}
            layers.append(_Layer(prefix, "normalisation", names | state))
            norms += 1
        elif "weight" in names:
            kind = "convolution" if len(wanted[names["weight"]]) == 4 else "dense layer"
            layers.append(_Layer(prefix, kind, names))
    return layers


def _other_network(theirs: Sequence[_Layer], ours: Sequence[_Layer], where: str) -> str:
    for i, (one, other) in enumerate(zip(theirs, ours, strict=False)):
        if one.kind != other.kind:
            said = f"layer {i + 1}, {one.name}, is a {one.kind}, the model's a {other.kind}"
            return f"{where} is of another network: {said}; use its --model"
    return (
        f"{where} has {len(theirs)} layers with weights, the model {len(ours)}; use its --model, "
        "or rename them as `subspace export --whole` names them"
    )


def head_of(wanted: Shapes) -> tuple[str, ...]:
    """The names of the last layer, whose outputs are classes."""
    *_, last = _by_layer(_parameters(wanted)).values()
    return tuple(last.values())


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint at what a name may have been meant for."""
    near = get_close_matches(name, names, n=1)
    return f" (nearest: {near[0]})" if near else ""
