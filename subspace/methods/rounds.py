"""Methods whose workers may take steps of their own between exchanges."""

from __future__ import annotations

from dataclasses import dataclass

import optax

from subspace.errors import InvalidInput
from subspace.methods.base import WORKERS, Method
from subspace.optim.in_subspace import chain
from subspace.optim.local import local_steps
from subspace.options import fields_of, option


@dataclass(frozen=True, kw_only=True)
class InRounds(Method):
    """A method that can be told to exchange now and then only, see `subspace.local_steps`.

    A round ends with its epoch at the latest, so that epochs are measured where all agree.
    """

    local_steps: int = option(
        1,
        "Steps that each worker takes by itself between exchanges.",
        panel=WORKERS,
        least=1,
        by_run=True,
    )
    outer_rate: int | float = option(
        1.0,
        "Of the way that workers come to by local steps, how much is taken.",
        panel=WORKERS,
        above=0,
        by_run=True,
    )
    outer_momentum: int | float = option(
        0.0,
        "Nesterov's momentum of the ways that workers come to by local steps.",
        panel=WORKERS,
        least=0,
        below=1,
        by_run=True,
    )

    def __post_init__(self):
        super().__post_init__()
        fields = fields_of(type(self))
        for name in ("outer_rate", "outer_momentum"):
            if self.local_steps == 1 and getattr(self, name) != fields[name].default:
                raise InvalidInput(name, "goes with local steps; give --local-steps, or leave it")

    @property
    def rounds(self) -> bool:
        """Whether workers take steps of their own."""
        return self.local_steps > 1

    @property
    def counts_workers(self) -> bool:
        return self.rounds or super().counts_workers

    @property
    def decouples(self) -> bool:
        return self.rounds or super().decouples  # a worker's weights decay where they are

    def due(self, step: int, steps: int) -> bool | None:
        if not self.rounds:
            return None
        of_epoch = step % steps + 1
        return of_epoch % self.local_steps == 0 or of_epoch == steps

    def in_rounds(
        self, inner: optax.GradientTransformation, agreed: optax.GradientTransformation
    ) -> optax.GradientTransformationExtraArgs:
        """Local steps by ``inner``; ``agreed`` makes of the ways what all follow."""
        outer = optax.sgd(self.outer_rate, self.outer_momentum or None, nesterov=True)
        return local_steps(inner, chain(agreed, outer))
