"""Methods that leave the step to an optimizer by name: plain or with momentum, Adam, AdamW."""

from __future__ import annotations

from dataclasses import dataclass

import optax

from subspace.errors import InvalidInput
from subspace.methods.base import Context, Method
from subspace.methods.schedule import momentum
from subspace.optim.in_subspace import chain
from subspace.options import fields_of, option

OPTIMIZERS = ("sgd", "adam", "adamw")
_TRAINING = "Training"


@dataclass(frozen=True, kw_only=True)
class Optimized(Method):
    """A method that hands a gradient, or its coordinates, to an optimizer."""

    optimizer: str = option(
        "sgd",
        "What steps along the gradient that it measures: sgd, adam, or adamw, whose weight decay "
        "doesn't go through the gradient.",
        panel=_TRAINING,
        choices=OPTIMIZERS,
    )
    momentum: int | float = momentum()
    clip: int | float | None = option(
        None,
        "Longest gradient that the optimizer is given; longer ones are shortened.",
        panel=_TRAINING,
        above=0,
        shown="any",
    )

    def __post_init__(self):
        Method.__post_init__(self)
        usual = fields_of(type(self))["momentum"].default
        if self.optimizer != "sgd" and self.momentum != usual:
            raise InvalidInput("momentum", f"goes with sgd; {self.optimizer} has its own")

    @property
    def decouples(self) -> bool:
        return self.optimizer == "adamw"

    @property
    def _suffix(self) -> str:
        """Of `rate_name`: Adam's steps are as long as the rate, whatever the gradient."""
        return "" if self.optimizer == "sgd" else "+adam"

    @property
    def rate_name(self) -> str:
        return self.name + self._suffix

    def inner(self, context: Context) -> optax.GradientTransformationExtraArgs:
        """The optimizer."""
        rate = context.learning_rate
        if self.optimizer == "adam":
            step = optax.adam(rate)
        elif self.optimizer == "adamw":
            step = optax.adamw(rate, weight_decay=context.weight_decay)
        else:
            step = optax.sgd(rate, self.momentum or None)
        return step if self.clip is None else chain(optax.clip_by_global_norm(self.clip), step)  # pyright: ignore
