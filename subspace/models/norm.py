"""Batch normalisation with functional state, and what changes it throughout a model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.models.once import once

Model = TypeVar("Model")


@dataclasses.dataclass(frozen=True)
class _Constant:
    """``size`` float32 copies of ``value``, which ``eqx.nn.make_with_state`` makes into an array.

    No array until then (Equinox takes NumPy's for parameters too), so that no count includes it.
    """

    value: float
    size: int

    def __jax_array__(self) -> Array:
        return jnp.full(self.size, self.value, jnp.float32)


class BatchNorm(eqx.Module):
    """Batch normalisation of one image of a batch, per channel, with running statistics.

    Ioffe and Szegedy, arXiv 1502.03167: ``scale * (x - mean) / sqrt(variance + eps) + shift``.
    In training, mean and variance are those of the whole batch: over the pixels of this image and
    over the named axes ``axis_name``. They and the running statistics are float32. The variance is
    taken of the centred values, in a second pass, so rounding can't turn it negative. It is the
    biased one (divided by the count) for the running statistics too (PyTorch's are unbiased): a
    model evaluates with the average of what it trained with.

    Build one with ``BatchNorm.of(channels)`` and the state with ``eqx.nn.make_with_state``; call it
    under ``jax.vmap(..., axis_name="batch")``. ``eqx.nn.inference_mode`` switches it to the running
    statistics.

    Attributes:
        scale: γ, shape ``(channels,)``.
        shift: β, shape ``(channels,)``.
        running: where the state holds the running (mean, variance), each of shape ``(channels,)``.
        inference: use the running statistics, and leave them as they are.
        axis_name: the axes of ``vmap`` or ``shard_map`` that make up the batch (see ``with_axis``).
        eps: added to the variance.
        momentum: the share of the old running statistics that each batch keeps (PyTorch counts the
            rest, 0.1). DLDR's release has these defaults, Keras 1e-3 and 0.99.
    """

    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]
    running: eqx.nn.StateIndex
    inference: bool = False
    axis_name: str | tuple[str, ...] = eqx.field(static=True, default="batch")
    eps: float = eqx.field(static=True, default=1e-5)
    momentum: float = eqx.field(static=True, default=0.9)

    @staticmethod
    def of(channels: int) -> BatchNorm:
        """A layer with scale 1, shift 0 and, in the state, mean 0 and variance 1."""
        return BatchNorm(
            scale=jnp.ones(channels, jnp.float32),
            shift=jnp.zeros(channels, jnp.float32),
            running=eqx.nn.StateIndex((_Constant(0.0, channels), _Constant(1.0, channels))),
        )

    def __call__(
        self, x: Float[Array, "height width channels"], state: eqx.nn.State
    ) -> tuple[Float[Array, "height width channels"], eqx.nn.State]:
        kind = x.dtype
        x = once(x.astype(jnp.float32))
        scale, shift = self.scale.astype(jnp.float32), self.shift.astype(jnp.float32)
        if self.inference:
            mean, variance = state.get(self.running)
            centred = x - mean[None, None]
            return _scaled(centred, variance + self.eps, scale, shift).astype(kind), state
        axes = (self.axis_name,) if isinstance(self.axis_name, str) else self.axis_name
        out, mean, variance = _normalise(axes, self.eps, x, scale, shift)
        return out.astype(kind), state.set(self.running, self._blend(state, mean, variance))

    def _blend(self, state: eqx.nn.State, *batch: Float[Array, " channels"]) -> tuple[Array, ...]:
        keep = self.momentum
        old = state.get(self.running)
        return tuple(
            keep * o + (1 - keep) * jax.lax.stop_gradient(b)
            for o, b in zip(old, batch, strict=True)
        )


def _mean(axes: tuple[str, ...], x: Float[Array, "height width c"]) -> Float[Array, " c"]:
    # Shards are of equal size, so the mean of their means is the mean of the batch.
    # One axis at a time, so that devices exchange means, not what each example adds to them.
    return functools.reduce(jax.lax.pmean, axes, jnp.mean(x, axis=(0, 1)))


def _scaled(centred: Array, square: Array, scale: Array, shift: Array) -> Array:
    slope = scale * jax.lax.rsqrt(square)
    return centred * slope[None, None] + shift[None, None]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _normalise(
    axes: tuple[str, ...], eps: float, x: Array, scale: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """The normalised image, and the batch's mean and variance."""
    mean = _mean(axes, x)
    centred = x - mean[None, None]
    variance = _mean(axes, jnp.square(centred))
    return _scaled(centred, variance + eps, scale, shift), mean, variance


@_normalise.defjvp
def _normalise_jvp(
    axes: tuple[str, ...], eps: float, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Written out, since the centred values' mean is zero, which differentiation doesn't know.

    Its transpose passes over the activations once less. It can be differentiated again.
    """
    (x, scale, shift), (dx, dscale, dshift) = primals, tangents
    out, mean, variance = _normalise(axes, eps, x, scale, shift)
    centred, deviation = x - mean[None, None], jax.lax.rsqrt(variance + eps)
    dmean, dvariance = _mean(axes, dx), 2 * _mean(axes, centred * dx)
    slope = scale * deviation
    dslope = dscale * deviation - 0.5 * slope * jnp.square(deviation) * dvariance
    dout = (dx - dmean[None, None]) * slope[None, None] + centred * dslope[None, None]
    return (out, mean, variance), (dout + dshift[None, None], dmean, dvariance)


def with_axis(model: Model, axis_name: str | Sequence[str]) -> Model:
    """The same model, whose batch normalisation takes its statistics over ``axis_name``.

    Args:
        model: any PyTree; only its ``BatchNorm`` layers change. Parameters and state stay valid.
        axis_name: one or several names of axes, for example ``("batch", "data")`` inside a
            ``jax.shard_map`` over ``"data"`` whose shards are of equal size. That needs
            ``check_vma=False``: with the check, JAX (0.10 to 0.12) takes no axis of ``vmap``.
    """
    names = axis_name if isinstance(axis_name, str) else tuple(axis_name)
    return _changed(model, axis_name=names)


def with_momentum(model: Model, momentum: float) -> Model:
    """The same model, whose running statistics keep this share of the old ones at each batch."""
    return _changed(model, momentum=momentum)


def _changed(model: Model, **fields: Any) -> Model:
    """The same model with other fields in its ``BatchNorm`` layers."""

    def change(node):
        return dataclasses.replace(node, **fields) if isinstance(node, BatchNorm) else node

    return jax.tree.map(change, model, is_leaf=lambda node: isinstance(node, BatchNorm))
