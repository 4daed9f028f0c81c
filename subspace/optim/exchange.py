"""Exchanges: which directions each worker measures, and how workers combine what they measured."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, final

import equinox as eqx
from jaxtyping import Array, Int

from subspace.errors import InvalidInput, one_of
from subspace.optim.workers import AbstractWorkers, AxisWorkers, OneWorker
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.joint import JointSubspace
from subspace.spaces.random import RandomSubspace

Axis = str | tuple[str, ...]


class Told(NamedTuple):
    """What came of an exchange.

    Attributes:
        agreed: on by all workers.
        credited: how much of it is this worker's doing; where all measure along all directions
            the mean of it over workers is what is agreed on, and the rest of what it measured is
            left to error feedback.
    """

    agreed: Coords
    credited: Coords


class AbstractExchange(eqx.Module):
    """How workers share the measuring of a subspace, and agree on the step that all take.

    ``joint`` is the subspace that all step in, ``mine`` the part of it that a worker measures, and
    calling the exchange turns what each measured there into coordinates in the joint one.

    Attributes:
        workers: among whom; what isn't measured in coordinates goes through their collectives.
    """

    workers: eqx.AbstractVar[AbstractWorkers]

    @abstractmethod
    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        """The subspace that all workers step in, made from the one that a method is given."""

    @abstractmethod
    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        """The part of a joint subspace in which this worker measures."""

    @abstractmethod
    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        """What all workers agree on, from what this one measured in its part.

        ``step`` counts the calls, for an exchange that `draws`.
        """

    @abstractmethod
    def trivial(self) -> bool:
        """Whether what this worker measured is what all agree on, as there is no other."""

    @abstractmethod
    def shares_directions(self) -> bool:
        """Whether every worker measures along all directions."""

    def draws(self) -> bool:
        """Whether it leaves something to chance, anew in every step."""
        return False


@final
class Alone(AbstractExchange):
    """One worker: nothing to exchange."""

    workers: AbstractWorkers

    def __init__(self):
        self.workers = OneWorker()

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return space

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        return Told(measured, measured)

    def trivial(self) -> bool:
        return True

    def shares_directions(self) -> bool:
        return True


@final
class Mean(AbstractExchange):
    """One subspace for all; the mean of its coordinates over workers: d numbers a step.

    With a share of the batch for each worker the step doesn't depend on how many there are.

    Attributes:
        replayable: step through the coordinates even where there is one worker, so that the same
            coordinates give the same step, bit for bit.
    """

    workers: AbstractWorkers
    replayable: bool = eqx.field(static=True)

    def __init__(self, axis: Axis = "data", replayable: bool = False):
        """Workers along ``axis``, a mesh axis or several; see the attributes."""
        self.workers = along(axis)
        self.replayable = replayable

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        return space

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        return joint

    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        return Told(self.workers.mean(measured), measured)

    def trivial(self) -> bool:
        return not self.replayable and self.workers.count() == 1

    def shares_directions(self) -> bool:
        return True


COMBINE = ("sum", "mean")


@final
class Gather(AbstractExchange):
    """Directions of each worker's own; all coordinates are gathered.

    Worker k measures its gradient g_k along its directions P_k, all gather the coordinates and
    rebuild all directions from their seeds. ``combine="sum"``, as the RBD paper's code does it,
    steps by ``Σ_k P_k P_kᵀ g_k``, in expectation as far as one worker with all the directions does;
    ``"mean"`` by a K-th of it, as far as one worker does with those of one, with less noise. Either
    way the learning rate stays that of the one worker.

    Without ``split`` each worker has d directions, and a share of the batch (algorithm 1, right, of
    the RBD paper): K·d numbers a step. With it they divide the d directions, on one mini-batch that
    all see: d numbers a step, and less work where measuring is what costs, as in evolution
    strategies.

    Attributes:
        count: K, known where no mesh is: the shape of a joint subspace depends on it.
        split: divide the directions; K divides the dimensions of every compartment.
        combine: ``"sum"`` or ``"mean"``.
    """

    workers: AbstractWorkers
    count: int = eqx.field(static=True)
    split: bool = eqx.field(static=True)
    combine: str = eqx.field(static=True)

    def __init__(
        self, workers: int, axis: Axis = "data", split: bool = False, combine: str = "sum"
    ):
        """K ``workers`` along ``axis``, a mesh axis or several; see the attributes.

        Raises:
            InvalidInput: unknown ``combine``.
        """
        self.workers, self.count, self.split = along(axis), workers, split
        self.combine = one_of("combine", combine, COMBINE)

    def joint(self, space: AbstractSubspace) -> AbstractSubspace:
        if not isinstance(space, RandomSubspace):
            raise InvalidInput("exchange", "only random directions can be divided; use mean")
        part = space.share(self.count) if self.split else space
        scale = 1.0 if self.combine == "sum" else self.count**-0.5  # P stands twice in a step
        return JointSubspace(part, self.count, scale)

    def mine(self, joint: AbstractSubspace) -> AbstractSubspace:
        assert isinstance(joint, JointSubspace)
        return joint.part(self.workers.number())

    def __call__(self, measured: Coords, step: Int[Array, ""] | None = None) -> Told:
        return Told(self.workers.gather(measured), measured)

    def trivial(self) -> bool:
        return False

    def shares_directions(self) -> bool:
        return False


def along(axis: Axis) -> AxisWorkers:
    """Workers along a mesh axis, or several."""
    return AxisWorkers((axis,) if isinstance(axis, str) else axis)
