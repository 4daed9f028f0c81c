"""What a run is: one frozen record, validated in one place, from which the pieces are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from subspace.config.phase import Phase
from subspace.errors import InvalidInput, in_phase, lookup
from subspace.methods import rates as defaults
from subspace.models import MODELS

MAY_CHANGE = frozenset({"epochs", "checkpoint_every", "data_dir"})
"""Fields in which a resumed run may differ from the one it continues."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, apart from where it is written.

    Attributes:
        label_noise: fraction of the training labels that are wrong, see `subspace.data.noise`.
        diagnose: steps between measurements of the step, None for none; see
            `subspace.train.diagnose`.
        recalibrate_bn: at the end of every phase that trains in a subspace, replace batch
            normalisation's running statistics by means over the training split.
        workers: how many share a step, if that isn't one for each device that there is; each has
            directions of its own with the exchanges ``"independent"`` and ``"split"``, so that it
            is part of what the run is.
        source: folder of a finished run, from whose end, or on whose trajectory, this one goes on.
        init_from: a file of weights, or a finished run, that this one begins with.
        stream: read images from disk when they are needed.
        image_size: side to which streamed images are brought; None for that which they have.
        epochs_before: that run's, so that data order and random directions don't start over.
        phases: one after the other.
    """

    dataset: str
    model: str
    augment: bool
    validation: float
    seed: int
    checkpoint_every: int
    label_noise: float
    recalibrate_bn: bool
    diagnose: int | None
    workers: int | None
    data_dir: str | None
    source: str | None
    init_from: str | None
    stream: bool
    image_size: int | None
    epochs_before: int
    phases: tuple[Phase, ...]

    @classmethod
    def resolve(
        cls,
        given: Mapping[str, Any],
        then: Sequence[Mapping[str, Any]] = (),
        start: str = "here",
    ) -> RunConfig:
        """Fills what isn't given with the defaults of the methods, model and dataset.

        Args:
            given: fields of the run and of its first phase by name; None means not given.
            then: fields of each phase that follows, ``method`` among them.
            start: where the first phase starts, if it is on a trajectory and doesn't say.

        Raises:
            InvalidInput: a value that can't be used, or doesn't apply to the method.

        Example:
            >>> RunConfig.resolve({"method": "dldr", "epochs": 30}, [{"method": "pbfgs"}])
        """
        given = {name: value for name, value in given.items() if value is not None}
        task = {name: given.pop(name) for name in TASK & given.keys()}
        model, dataset = task.get("model", "fc"), task.get("dataset", "digits")
        lookup("model", model, MODELS)
        values = {
            "dataset": dataset,
            "model": model,
            "augment": defaults.augment(dataset),
            "validation": 0.1,
            "seed": 0,
            "checkpoint_every": 1,
            "label_noise": 0.0,
            "recalibrate_bn": False,
            "diagnose": None,
            "workers": None,
            "data_dir": None,
            "source": None,
            "init_from": None,
            "stream": False,
            "image_size": None,
            "epochs_before": 0,
        }
        phases: list[Phase] = []
        for i, fields_ in enumerate([{"method": "rbd"} | given, *then]):
            with in_phase(i, fields_["method"]):
                phases.append(Phase.resolve(fields_, model=model, dataset=dataset, start=start))
            start = "first" if phases[-1].sample_every is not None else "here"
        config = cls(**(values | task), phases=tuple(phases))
        config.validate()
        return config

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def methods(self) -> str:
        """Such as ``"dldr-pbfgs"``."""
        return "-".join(phase.method for phase in self.phases)

    def sampled_by(self, index: int) -> int | None:
        """The phase on whose samples phase ``index`` builds; None for those of the source."""
        before = [i for i in range(index) if self.phases[i].sample_every is not None]
        return before[-1] if before else None

    def validate(self) -> None:
        """Checks every field that can be checked without data."""
        if not 1 <= self.checkpoint_every < 2**31:
            raise InvalidInput(
                "checkpoint_every", f"must be at least 1, and is {self.checkpoint_every}"
            )
        if not 0 <= self.validation < 1:
            raise InvalidInput(
                "validation",
                f"is a fraction of the training split, 0 up to 1, got {self.validation}",
            )
        if not 0 <= self.label_noise < 1:
            raise InvalidInput(
                "label_noise", f"is a fraction of the labels, 0 up to 1, got {self.label_noise}"
            )
        if self.diagnose is not None and not 1 <= self.diagnose < 2**31:
            raise InvalidInput("diagnose", f"must be at least 1, got {self.diagnose}")
        if not 0 <= self.seed < 2**32:
            raise InvalidInput("seed", f"must be between 0 and 4294967295, got {self.seed}")
        if self.workers is not None and not 1 <= self.workers < 2**31:
            raise InvalidInput("workers", f"must be at least 1, got {self.workers}")
        if self.image_size is not None and not (self.stream and 1 <= self.image_size < 2**15):
            raise InvalidInput(
                "image_size", f"goes with stream, and is 1 up to {2**15 - 1}; got {self.image_size}"
            )
        if self.init_from is not None and self.source is not None:
            raise InvalidInput("init_from", "the run goes on from another one; leave one out")
        if self.epochs_before < 0:
            raise InvalidInput("epochs_before", f"must be 0 or more, got {self.epochs_before}")
        for i, phase in enumerate(self.phases):
            with in_phase(i, phase.method):
                self._validate_phase(i, phase)

    def _validate_phase(self, index: int, phase: Phase) -> None:
        phase.validate()
        if not phase.on_trajectory:
            return
        sampling = self.sampled_by(index)
        if sampling is None and self.source is None:
            raise InvalidInput(
                "method",
                f"{phase.method} builds on a trajectory; sample one first, `subspace run dldr "
                f"--then {phase.method}`, or go on from a run that has one, --from RUN",
            )
        if sampling is not None:
            check_dim(phase, self.phases[sampling].samples)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_json`.

        Raises:
            InvalidInput: a field is missing or unknown, or its value can't be used.
        """
        later = {"init_from": None, "stream": False, "image_size": None}  # older runs lack them
        record = later | dict(record)
        expected = {field.name for field in fields(cls)}
        if record.keys() != expected or not record["phases"]:
            odd = ", ".join(sorted(record.keys() ^ expected))
            raise InvalidInput("resume", f"config.json is damaged or of another version: {odd}")
        phases = tuple(Phase.from_json(phase) for phase in record["phases"])
        config = cls(**{**record, "phases": phases})
        config.validate()
        return config


TASK = frozenset(field.name for field in fields(RunConfig)) - {"phases"}
"""The fields of a run that all its phases share."""


def check_dim(phase: Phase, samples: int | None) -> None:
    """Raises InvalidInput if so many samples don't span ``phase.dim`` directions."""
    if samples is None or phase.dim is None:
        return
    wanted = max(1, phase.dim)
    if wanted > samples - 1:
        raise InvalidInput(
            "dim",
            f"{phase.dim} needs a trajectory of {wanted + 1} samples, and this one has {samples}; "
            "lower dim, or sample longer or more often",
        )
