"""Random directions with a learned length for each layer: structure-aware intrinsic dimension."""

from __future__ import annotations

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from subspace.errors import InvalidInput
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.curved import CurvedSubspace
from subspace.spaces.partition import Partition, divide
from subspace.spaces.random import DIM, RandomSubspace

_SCALES = "scales"


@final
class ScaledSubspace(CurvedSubspace):
    """``params(z)_l = base_l + (1 + λ_l) (P c)_l`` for each layer l, with ``z = (c, λ)``.

    P spans all layers together, as in a plain random subspace, and λ says how much each takes of
    it: SAID of Aghajanyan et al. 2020 (arXiv 2012.13255, equation 3), whose λ starts at 1.

    Attributes:
        spread: P, of d directions less one for each layer.
        at: the current coordinates.
        layers: which leaf belongs to which layer.
    """

    spread: RandomSubspace
    at: Coords
    layers: Partition = eqx.field(static=True)

    def __init__(self, params: PyTree, *, dim: int = DIM, **spread: Any):
        """Describes such a subspace of ``params``.

        Args:
            params: a pytree of floating-point arrays, or of their `jax.ShapeDtypeStruct`s.
            dim: d, of which one is each layer's scale.
            spread: what else `RandomSubspace` takes.

        Raises:
            InvalidInput: an argument that can't be used; says which and what to do.
        """
        self.layers = divide(params, "layer")
        count = len(self.layers.sizes)
        if dim <= count:
            raise InvalidInput("dim", f"{count} layers have a scale each; use more than {count}")
        self.spread = RandomSubspace(params, dim=dim - count, **spread)
        self.at = self.spread.origin() | {_SCALES: jnp.zeros(count, jnp.float32)}

    @property
    def dimensions(self) -> int:
        """d."""
        return self.spread.dimensions + len(self.layers.sizes)

    def displacement(self, coords: Coords) -> PyTree:
        leaves = self.layers.leaves_of(self.spread.lift(_directions(coords)))
        scales = 1 + coords[_SCALES]
        for number, pieces in enumerate(self.layers.pieces.values()):
            for piece in pieces:
                leaf = leaves[piece.leaf]
                leaves[piece.leaf] = leaf * scales[number].astype(leaf.dtype)
        return self.layers.tree_of(leaves)

    def fixed(self) -> bool:
        return self.spread.fixed()

    def stretch(self) -> float:
        """That of P where each step starts with all scales 1; else unknown."""
        return self.spread.stretch() if self.spread.redraw_every == 1 else float("inf")

    def redraw(self, coords: Coords, step: PyTree | None = None) -> tuple[AbstractSubspace, Coords]:
        """Where P is drawn anew, scales start again from 1 too."""
        spread, directions = self.spread.redraw(_directions(coords))
        assert isinstance(spread, RandomSubspace)
        scales = spread.restarted(coords[_SCALES])
        coords = directions | {_SCALES: scales}
        return eqx.tree_at(lambda s: (s.spread, s.at), self, (spread, coords)), coords


def _directions(coords: Coords) -> dict[str, Array]:
    return {name: z for name, z in coords.items() if name != _SCALES}
