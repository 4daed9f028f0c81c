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

    accumulate: int = option(
        1,
        "Parts of a worker's batch whose gradients are measured one after the other, to save "
        "memory.",
        panel=_TRAINING,
        least=1,
        most=2**10,
        moves_rate=False,
        by_run=True,
    )

    def __post_init__(self):
        super().__post_init__()
        usual = fields_of(type(self))["momentum"].default
        if self.optimizer != "sgd" and self.momentum != usual:
            raise InvalidInput("momentum", f"goes with sgd; {self.optimizer} has its own")

    @property
    def decouples(self) -> bool:
        return self.optimizer == "adamw" or super().decouples

    @property
    def _suffix(self) -> str:
        """Of `rate_name`: Adam's steps are as long as the rate, whatever the gradient."""
        return "" if self.optimizer == "sgd" else "+adam"

    @property
    def rate_name(self) -> str:
        return self.name + self._suffix

    def inner(self, context: Context, spread: float = 1.0) -> optax.GradientTransformationExtraArgs:
        """The optimizer.

        Args:
            context: with the learning rate, and weight decay where it isn't in the gradient.
            spread: over how many numbers a coordinate of length one is spread, the root of it.
                Adam's rate is how far a number goes in a step; coordinates go farther.
        """
        steps: list[optax.GradientTransformation] = []
        if self.optimizer != "adamw" and context.weight_decay:
            steps.append(optax.add_decayed_weights(context.weight_decay))
        if self.clip is not None:
            steps.append(optax.clip_by_global_norm(self.clip))
        if self.optimizer == "sgd":
            return chain(*steps, optax.sgd(context.learning_rate, self.momentum or None))
        steps.append(optax.scale_by_adam())
        if spread != 1:
            steps.append(optax.scale(spread))
        if self.optimizer == "adamw":
            steps.append(optax.add_decayed_weights(context.weight_decay))
        return chain(*steps, optax.scale_by_learning_rate(context.learning_rate))
