"""What a run is: one frozen record, validated in one place, from which the pieces are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from subspace import pretrained
from subspace.config.phase import Phase
from subspace.config.usual import usual
from subspace.data.tokenize import BYTES
from subspace.errors import InvalidInput, in_phase
from subspace.methods import OnTrajectory
from subspace.methods.base import WORKERS
from subspace.models import MODELS
from subspace.models.bert import POOLINGS
from subspace.options import check, fields_of, option, path, values_of
from subspace.tasks import TASKS

MAY_CHANGE = frozenset({"epochs", "checkpoint_every", "data_dir", "keep"})
"""Fields in which a resumed run may differ from the one it continues."""

_TASK, _TRAINING, _OUTPUT = "What to train", "Training", "Run folder"


def _tokenizer(text: str) -> str:
    return text if text == BYTES else pretrained.named(text)


def participants(workers: int | None, participation: int | float | None) -> int | None:
    """How many of so many workers take part in a round; None for one on each device."""
    if workers is None or participation is None:
        return workers
    return max(1, round(participation * workers))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a run, apart from where it is written.

    Attributes:
        workers: each has directions of its own with the exchanges ``"independent"`` and
            ``"split"``, so that their number is part of what the run is.
        epochs_before: those of `source`, so that data order and random directions don't start over.
        phases: one after the other.
    """

    task: str = option(
        "images",
        "What is trained; `subspace list tasks` has all.",
        panel=_TASK,
        choices=lambda: TASKS,
    )
    dataset: str = option(
        "digits",
        "digits, a set of TensorFlow Datasets, folder:DIR, npz:FILE, text:DIR of texts and labels, "
        "or file:PATH of text.",
        panel=_TASK,
    )
    data_dir: str | None = option(
        None,
        "TFDS directory that holds the dataset.",
        panel=_TASK,
        read=path,
        shown="TFDS's own",
        moves_rate=False,
    )
    model: str = option(
        "fc",
        "fc, cnn, resnet8, vit, ...; `subspace list models` has all.",
        panel=_TASK,
        choices=lambda: MODELS,
        shown="fc; bert for texts, decoder for a text",
    )
    architecture: str | None = option(
        None,
        "A pretrained model, DIR or package:NAME, whose sizes the model takes; not its weights.",
        panel=_TASK,
        read=pretrained.named,
        shown="that of --init-from",
    )
    pooling: str | None = option(
        None,
        "What the head of bert sees: the mean of all tokens, or cls, the first one.",
        panel=_TASK,
        choices=POOLINGS,
        shown="as the pretrained model has it, else mean",
    )
    context: int = option(64, "Tokens of text that a model sees at a time.", panel=_TASK, least=1)
    tokenizer: str = option(
        "bytes",
        "What makes tokens of texts: bytes, or DIR or package:NAME with a tokenizer.json.",
        panel=_TASK,
        read=_tokenizer,
        shown="bytes; that of a pretrained model",
    )
    text_column: str = option("text", "Column of the texts, of text:DIR.", panel=_TASK)
    label_column: str = option("label", "Column of their labels, of text:DIR.", panel=_TASK)
    stream: bool = option(False, "Read images from disk when they are needed.", panel=_TASK)
    image_size: int | None = option(
        None,
        "Side to which images of a stream or a folder are resized and cropped.",
        panel=_TASK,
        least=1,
        most=2**15 - 1,
        shown="as they are",
    )
    init_from: str | None = option(
        None,
        "Weights to begin with: a finished run, a .safetensors file, ours or PyTorch's, or a "
        "pretrained model, DIR or package:NAME.",
        panel=_TASK,
        read=pretrained.named,
        shown="none",
    )
    new_head: bool = option(
        False, "Start the last layer afresh, where other classes are to be told apart.", panel=_TASK
    )
    freeze: str | None = option(
        None,
        "Parameters to leave as they are, by name: patterns between commas, such as embeddings.*.",
        panel=_TASK,
        shown="none",
    )
    source: str | None = option(
        None,
        "A finished run to go on from: its weights, its trajectory.",
        panel=_TASK,
        read=path,
        flag="--from",
        shown="none",
        describes=False,
    )
    dtype: str = option(
        "float32",
        "What networks compute gradients in, float32 or bfloat16; parameters stay float32.",
        panel=_TRAINING,
        choices=("float32", "bfloat16"),
    )
    label_noise: int | float = option(
        0.0,
        "Fraction of the training labels to replace by other classes.",
        panel=_TASK,
        least=0,
        below=1,
    )
    augment: bool = option(
        False,
        "Random crops, and flips or brightness, as in the papers.",
        panel=_TRAINING,
        shown="on for images, except for digits and your own",
    )
    validation: int | float = option(
        0.1,
        "Fraction of the training split to hold out; 0 for none.",
        panel=_TRAINING,
        least=0,
        below=1,
    )
    seed: int = option(
        0,
        "Of initialisation, data order and directions.",
        panel=_TRAINING,
        least=0,
        most=2**32 - 1,
    )
    recalibrate_bn: bool | None = option(
        None,
        "After a phase in a subspace, average batch norm's statistics over the training split.",
        panel=_TRAINING,
        shown="on for a phase on a trajectory of under 60 steps",
    )
    diagnose: int | None = option(
        None,
        "Steps between measurements of the step beside the gradient, in diagnostics.jsonl.",
        panel=_OUTPUT,
        least=1,
        shown="never",
        describes=False,
    )
    checkpoint_every: int = option(
        1, "Epochs between checkpoints.", panel=_OUTPUT, least=1, describes=False
    )
    keep: int = option(
        3, "Newest checkpoints that stay.", panel=_OUTPUT, least=1, most=10**6, describes=False
    )
    keep_best: bool = option(
        False,
        "Also keep the weights with the best held-out loss, in best.safetensors.",
        panel=_OUTPUT,
        describes=False,
    )
    workers: int | None = option(
        None,
        "How many share a step; on CPU as many devices are made.",
        panel=WORKERS,
        least=1,
        most=2**16,
        shown="one for each device",
        describes=False,
    )
    skew: int | float | None = option(
        None,
        "Workers hold classes in proportions from a Dirichlet distribution with this for each: "
        "near 0 one class each.",
        panel=WORKERS,
        above=0,
        shown="all alike",
    )
    participation: int | float | None = option(
        None,
        "The fraction of the workers that take part in a round, drawn anew for each.",
        panel=WORKERS,
        above=0,
        most=1,
        shown="all",
    )
    epochs_before: int = 0
    phases: tuple[Phase, ...] = ()

    def __post_init__(self):
        check(self)
        if self.augment and not TASKS[self.task].augments:
            raise InvalidInput("augment", f"{self.task} has no augmentation; leave it out")
        if self.image_size and not (self.stream or self.dataset.startswith("folder:")):
            raise InvalidInput("image_size", "goes with stream, or a folder; leave it out")
        if self.task != "text":
            _check_no_text(self)
        if self.new_head and self.init_from is None:
            raise InvalidInput("new_head", "goes with init_from; leave it out")
        if self.init_from is not None and self.source is not None:
            raise InvalidInput("init_from", "the run goes on from another one; leave one out")
        if isinstance(self.epochs_before, bool) or self.epochs_before < 0:
            raise InvalidInput("epochs_before", f"must be 0 or more, got {self.epochs_before}")
        for i, phase in enumerate(self.phases):
            with in_phase(i, phase.method.name):
                self._check_trajectory(i, phase)
                for name in ("until_flat", "early_stop"):
                    if getattr(phase.schedule, name):
                        self._check_ends(name, phase)
        if self.keep_best and not self.validation:
            raise InvalidInput("keep_best", "needs held-out examples; set validation")

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

        Examples:
            >>> RunConfig.resolve({"method": "dldr", "epochs": 30}, [{"method": "pbfgs"}])
        """
        given = {name: value for name, value in given.items() if value is not None}
        config = cls(**usual(given) | {name: given.pop(name) for name in SHARED & given.keys()})
        task = {"model": config.model, "dataset": config.dataset}
        phases: list[Phase] = []
        for i, one in enumerate([{"method": "rbd"} | given, *then]):
            with in_phase(i, one["method"]):
                phases.append(Phase.resolve(one, **task, start=start))
            start = "first" if phases[-1].samples_trajectory else "here"
        return replace(config, phases=tuple(phases))

    def by_itself(self) -> RunConfig:
        """The same run as if it began with fresh weights: to be filled by others."""
        return replace(self, source=None, init_from=None, new_head=False)

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def methods(self) -> str:
        """Such as ``"dldr-pbfgs"``."""
        return "-".join(phase.method.name for phase in self.phases)

    @property
    def data_name(self) -> str:
        """The dataset's name for files and titles: of a file of your own that without its path."""
        scheme, colon, rest = self.dataset.partition(":")
        own = colon and scheme in ("folder", "npz", "file", "text")
        return Path(rest).stem if own else self.dataset

    @property
    def participants(self) -> int | None:
        """How many workers take part in a round; None for one on each device."""
        return participants(self.workers, self.participation)

    @property
    def divides_examples(self) -> bool:
        """Whether each worker has examples of its own, instead of a share of every batch."""
        return self.skew is not None or self.participation is not None

    def sampled_by(self, index: int) -> int | None:
        """The phase on whose samples phase ``index`` builds; None for those of the source."""
        before = [i for i in range(index) if self.phases[i].samples_trajectory]
        return before[-1] if before else None

    def _check_ends(self, name: str, phase: Phase) -> None:
        if not self.validation:
            raise InvalidInput(name, "needs held-out examples; set validation")
        if phase.logs_coordinates:
            reason = "a phase that logs coordinates runs to its end; leave one out"
            raise InvalidInput(name, reason)
        if name == "early_stop" and phase.values.get("average") is not None:
            raise InvalidInput(name, "an average is taken at the end; leave one out")
        if name == "early_stop" and phase.on_trajectory:
            raise InvalidInput(name, "is for epochs of training; use until_flat on a trajectory")

    def _check_trajectory(self, index: int, phase: Phase) -> None:
        if not phase.on_trajectory:
            return
        sampling, name = self.sampled_by(index), phase.method.name
        if sampling is None and self.source is None:
            raise InvalidInput(
                "method",
                f"{name} builds on a trajectory; sample one first, `subspace run dldr "
                f"--then {name}`, or go on from a run that has one, --from RUN",
            )
        if sampling is not None:
            check_samples(phase, self.phases[sampling].schedule.samples)

    def to_json(self) -> dict[str, Any]:
        phases = [phase.to_json() for phase in self.phases]
        return values_of(self) | {"epochs_before": self.epochs_before, "phases": phases}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_json`.

        Raises:
            InvalidInput: a field is missing or unknown, or its value can't be used.
        """
        expected = {field.name for field in fields(cls)}
        if record.keys() != expected or not record["phases"]:
            odd = ", ".join(sorted(record.keys() ^ expected))
            raise InvalidInput("resume", f"config.json is damaged or of another version: {odd}")
        phases = tuple(Phase.from_json(phase) for phase in record["phases"])
        return cls(**{**record, "phases": phases})


def _check_no_text(config: RunConfig) -> None:
    """Raises InvalidInput if a field of texts is given with another task."""
    known = fields_of(RunConfig)
    for name in ("architecture", "pooling", "tokenizer", "text_column", "label_column"):
        if getattr(config, name) != known[name].default:
            raise InvalidInput(name, "goes with --dataset text:DIR; leave it out")


SHARED = frozenset(fields_of(RunConfig)) | {"epochs_before"}
"""The fields of a run that all its phases share."""


def check_samples(phase: Phase, samples: int | None) -> None:
    """Raises InvalidInput if so many samples, None if not known, don't span what a phase needs."""
    if samples is None or not isinstance(phase.method, OnTrajectory):
        return
    least, counted = phase.method.least_samples(), phase.method.counted(samples)
    if counted >= least:
        return
    have = f"this one has {samples}"
    if counted < samples:
        have += f", of which {counted} count"
    dim = phase.values.get("dim")
    name, remedy = ("tail", "raise tail") if dim is None else ("dim", "lower dim")
    needs = f"{phase.method.name} needs" if dim is None else f"{dim} needs"
    raise InvalidInput(
        name,
        f"{needs} a trajectory of {least} samples, and {have}; {remedy}, or sample longer or "
        "more often",
    )
