"""Probes: how the slope along the subspace's directions is measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import final

import equinox as eqx
from jaxtyping import PyTree

from subspace.core import AbstractSubspace, Coords


class AbstractProbe(eqx.Module):
    """Measures the slope of the loss in each coordinate of a subspace."""

    @abstractmethod
    def __call__(
        self,
        space: AbstractSubspace,
        grads: PyTree,
        params: PyTree | None,
        value_fn: Callable[[PyTree], object] | None,
    ) -> Coords:
        """The slopes ``d loss / d coordinate``."""


@final
class Backprop(AbstractProbe):
    """Projects a back-propagated gradient: ``Pᵀ g``."""

    def __call__(
        self,
        space: AbstractSubspace,
        grads: PyTree,
        params: PyTree | None,
        value_fn: Callable[[PyTree], object] | None,
    ) -> Coords:
        return space.project(grads)
