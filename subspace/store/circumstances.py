"""What the numbers of a run depend on beside its configuration."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

from subspace.errors import InvalidInput

_SWITCHES = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
)
"""Of JAX, which change the numbers and not only their last bits."""

_PACKAGES = ("subspace-jax", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy")
_DECISIVE = ("subspace-jax", "jax", "jaxlib")


def circumstances() -> dict[str, Any]:
    """Of this process, as JSON keeps them."""
    return switches() | {"backend": jax.devices()[0].platform, "versions": versions()}


def switches() -> dict[str, Any]:
    """Those of JAX that change numbers."""
    return {name: getattr(jax.config, name) for name in _SWITCHES}


def versions() -> dict[str, str]:
    """Of Python and what matters here."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_same(theirs: Mapping[str, Any], field: str) -> None:
    """Raises InvalidInput, of ``field``, where numbers would be others than the run's."""
    ours = circumstances()
    for name in _SWITCHES:
        if theirs.get(name) != ours[name]:
            raise InvalidInput(
                field,
                f"the run was made with {name} = {theirs.get(name)}, and here it is {ours[name]}: "
                f"its numbers would be others; set {name.upper()}={_setting(theirs.get(name))}",
            )


def _setting(value: Any) -> str:
    """As an environment variable says it."""
    return str(int(value)) if isinstance(value, bool) else str(value or "")


def differences(theirs: Mapping[str, Any]) -> list[str]:
    """What may change the last bits of numbers: ``"jax 0.10.0, here 0.12.0"``."""
    ours = circumstances()
    pairs = [("backend", theirs.get("backend"), ours["backend"])]
    before = theirs.get("versions")
    if isinstance(before, Mapping):
        pairs += [(name, before.get(name), ours["versions"].get(name)) for name in _DECISIVE]
    return [f"{name} {have}, here {now}" for name, have, now in pairs if have != now]
