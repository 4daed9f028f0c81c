"""How long a method goes, in what steps, and what is recorded of it: its part of a phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax

from subspace.errors import InvalidInput
from subspace.options import check, option, whole_number, whole_numbers

_TRAINING = "Training"
_DECAY = 0.1  # of the learning rate, at each milestone
_MOST = 2**31 - 1  # steps are counted in 32 bits


def _sampling(text: str) -> str | int:
    return text if text == "epoch" else whole_number(text)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Of every method."""

    epochs: int = option(
        10,
        "Passes over the training split; on --resume, more of them go on.",
        panel=_TRAINING,
        least=1,
        shown="10, digits 30",
        moves_rate=False,
    )
    batch_size: int = option(32, "Examples in a step.", panel=_TRAINING, least=1)
    sample_every: int | str | None = option(
        None,
        "Record the parameters for a later method: epoch, or a number of steps.",
        least=1,
        choices=("epoch",),
        read=_sampling,
        moves_rate=False,
        shown="never",
    )
    half_samples: bool = option(
        False, "Keep samples as float16, in half the space.", moves_rate=False
    )

    until_flat: bool = option(
        False,
        "End sooner, once the held-out loss has stopped falling.",
        panel=_TRAINING,
        moves_rate=False,
    )

    early_stop: int | None = option(
        None,
        "End sooner, after so many epochs without a better held-out loss.",
        panel=_TRAINING,
        least=1,
        shown="never",
        moves_rate=False,
    )

    def __post_init__(self):
        check(self)
        for name in ("until_flat", "early_stop"):
            if getattr(self, name) and self.sample_every is not None:
                raise InvalidInput(name, "a phase that samples runs to its end; leave it out")
        if self.half_samples and self.sample_every is None:
            raise InvalidInput("half_samples", "goes with sample_every; leave it out")

    @property
    def samples(self) -> int | None:
        """Samples it records, the first at its start; None while that depends on the data."""
        if self.sample_every is None:
            return 0
        return self.epochs + 1 if self.sample_every == "epoch" else None


SCHEDULES = ("constant", "cosine", "linear")


@dataclass(frozen=True, kw_only=True)
class Rated(Schedule):
    """Of a method with a learning rate."""

    learning_rate: int | float | None = option(
        None,
        "Learning rate, by method, model and dataset.",
        panel=_TRAINING,
        above=0,
        flag="--lr",
        shown="see `subspace list`",
        moves_rate=False,
    )
    milestones: tuple[int, ...] = option(
        (),
        "Epochs after which the learning rate drops to a tenth, as in 100,150.",
        panel=_TRAINING,
        read=whole_numbers,
        moves_rate=False,
        shown="none",
    )
    schedule: str = option(
        "constant",
        "Of the learning rate over the phase: constant between milestones, or falling to 0.",
        panel=_TRAINING,
        choices=SCHEDULES,
        moves_rate=False,
        shown="constant; twa linear",
    )
    warmup: int | float = option(
        0,
        "Epochs in which the learning rate rises from 0.",
        panel=_TRAINING,
        least=0,
        moves_rate=False,
    )

    def __post_init__(self):
        Schedule.__post_init__(self)
        times = self.milestones
        if times and self.schedule != "constant":
            reason = f"go with a constant schedule, not {self.schedule}; leave one of them out"
            raise InvalidInput("milestones", reason)
        if self.warmup >= self.epochs and self.warmup:
            reason = f"must be below the phase's {self.epochs} epochs, got {self.warmup}"
            raise InvalidInput("warmup", reason)
        if min(times, default=1) < 1 or list(times) != sorted(set(times)):
            raise InvalidInput("milestones", f"must be growing epochs, each above 0, got {times}")

    def rates(self, steps: int) -> optax.ScalarOrSchedule:
        """The learning rate, or a function of the step, where an epoch has so many."""
        assert self.learning_rate is not None
        falls = self._falling(steps)
        rise = round(self.warmup * steps)
        if not rise:
            return falls
        full: Any = falls if callable(falls) else lambda count: jnp.float32(falls)
        return lambda count: full(count) * jnp.minimum(1, (count + 1) / rise)

    def _falling(self, steps: int) -> optax.ScalarOrSchedule:
        assert self.learning_rate is not None
        total = min(self.epochs * steps, _MOST)
        if self.schedule != "constant":
            if self.schedule == "cosine":
                falls = optax.cosine_decay_schedule(self.learning_rate, total)
            else:
                falls = optax.linear_schedule(self.learning_rate, 0.0, total)
            return lambda count: falls(jnp.asarray(count, jnp.float32))
        if not self.milestones:  # a resumed run may have more epochs and has to have no count
            return self.learning_rate
        drops = jnp.asarray([min(epoch * steps, _MOST) for epoch in self.milestones], jnp.int32)
        values = [self.learning_rate * _DECAY**i for i in range(len(self.milestones) + 1)]
        rates = jnp.asarray(values, jnp.float32)
        return lambda count: rates[jnp.searchsorted(drops, count, side="right")]


@dataclass(frozen=True, kw_only=True)
class Decayed(Rated):
    """Of a method that follows gradients, to which weight decay can be added."""

    weight_decay: int | float = option(
        0.0, "Multiple of the parameters added to the gradient.", panel=_TRAINING, least=0
    )


def momentum(default: float = 0.0, **about: Any) -> Any:
    """The field of a method that has it."""
    help = "Decay of the trace of past steps, below 1."
    return option(default, help, panel=_TRAINING, least=0, below=1, **about)
