"""``--device``: which of JAX's devices a run is made on."""

from __future__ import annotations

import os

KINDS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
_VISIBLE = {"gpu": "CUDA_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_DEVICES"}


def choose(device: str | None) -> None:
    """Lets JAX see that kind of device alone, or one of them; before anything uses JAX.

    Args:
        device: ``cpu``, ``gpu`` or ``tpu``, or one of several such as ``gpu:1``; None for what JAX
            finds.

    Raises:
        InvalidInput: it is none of these.
    """
    if device is None:
        return
    from subspace.errors import InvalidInput, one_of

    kind, colon, index = device.partition(":")
    one_of("device", kind, KINDS)
    if colon and not (index.isascii() and index.isdigit()):
        raise InvalidInput("device", f"{device} names no device; write {kind}:0")
    if colon and kind not in _VISIBLE:
        raise InvalidInput("device", "of cpu there is one; leave the number out")
    import jax

    if colon:
        os.environ[_VISIBLE[kind]] = index
    jax.config.update("jax_platforms", KINDS[kind])


def check(device: str | None) -> None:
    """Raises InvalidInput unless JAX runs on that kind of device."""
    if device is None:
        return
    import jax

    from subspace.errors import InvalidInput

    kind = device.partition(":")[0]
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError):  # the latter where a plugin is missing
        found = None
    if found == kind:
        return
    jax.config.update("jax_platforms", None)
    package = {"gpu": "jax[cuda13]", "tpu": "jax[tpu]"}.get(kind, "jax")
    have = "none" if found is None else found
    raise InvalidInput(
        "device",
        f"JAX has no {kind} here (it has {have}); leave it out, or pip install '{package}'",
    )
