"""Exchanges: how workers combine what each measured."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar, final

import equinox as eqx
from jax import lax

_T = TypeVar("_T", bound=Any)


class AbstractExchange(eqx.Module):
    """Combines what the workers measured into what they all act on."""

    @abstractmethod
    def __call__(self, measured: _T) -> _T:
        """What all workers agree on, from what this one measured: any pytree of arrays."""

    @abstractmethod
    def trivial(self) -> bool:
        """Whether that is what this one measured, as there is no other."""


@final
class Alone(AbstractExchange):
    """One worker: nothing to exchange."""

    def __call__(self, measured: _T) -> _T:
        return measured

    def trivial(self) -> bool:
        return True


@final
class Mean(AbstractExchange):
    """The mean over a mesh axis, so that the step doesn't depend on the number of workers."""

    axis: str = eqx.field(static=True, default="data")

    def __call__(self, measured: _T) -> _T:
        return lax.pmean(measured, self.axis)

    def trivial(self) -> bool:
        return lax.axis_size(self.axis) == 1
