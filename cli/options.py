"""The options of ``subspace run``, each with its help.

None means not given: the library then takes the default of the method, model and dataset, or on
resuming the run's own value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import values

_TASK, _SUBSPACE, _TRAINING = "What to train", "Subspace", "Training"
_NATURAL = "Natural gradients (hylo, sngd, kfac)"
_WORKERS, _OUTPUT = "Several devices and processes", "Run folder"


def _option(panel: str, help: str, default: str, *names: str, **more: Any) -> Any:
    """An option in a panel of the help, which names the library's default."""
    return typer.Option(*names, help=f"{help} Default: {default}.", rich_help_panel=panel, **more)


Method = Annotated[
    str | None,
    typer.Argument(
        metavar="METHOD",
        help="sgd, rbd, fpd, nes, hylo, sngd, kfac, dldr, psgd, pbfgs or newton; see "
        "`subspace list`.",
    ),
]
Dataset = Annotated[
    str | None,
    _option(_TASK, "digits, or an image-classification set of TensorFlow Datasets.", "digits"),
]
DataDir = Annotated[
    Path | None,
    _option(_TASK, "TFDS directory that holds the dataset.", "TFDS's own"),
]
Model = Annotated[
    str | None,
    _option(_TASK, "fc, cnn, resnet8, vit, ...; `subspace list models` has all.", "fc"),
]
Stream = Annotated[
    bool | None,
    _option(
        _TASK,
        "Read images from disk when they are needed.",
        "all in memory",
        "--stream/--no-stream",
    ),
]
ImageSize = Annotated[
    int | None,
    _option(_TASK, "Side to which streamed images are resized and cropped.", "as they are"),
]
InitFrom = Annotated[
    Path | None,
    _option(_TASK, "Weights to begin with: a finished run, or a .safetensors file.", "none"),
]
Source = Annotated[
    Path | None,
    _option(_TASK, "A finished run to go on from: its weights, its trajectory.", "none", "--from"),
]
Then = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD[:key=value,...]",
        help="Go on with another method, e.g. pbfgs:dim=15,epochs=20. Can be repeated.",
        rich_help_panel=_TASK,
    ),
]
Dim = Annotated[
    float | None,
    _option(
        _SUBSPACE,
        "Subspace dimension d; on a trajectory also a fraction of its variance.",
        "250, on a trajectory 15",
        parser=values.dimension,
        metavar="NUMBER",
    ),
]
Start = Annotated[
    str | None,
    _option(
        _SUBSPACE,
        "Where a method on a trajectory starts: at its first or last sample, or here.",
        "first, right after the sampling, else here",
    ),
]
Pairs = Annotated[
    str | None,
    _option(
        _SUBSPACE, "Gradients of a curvature pair: on a shared batch, or paper (pbfgs).", "shared"
    ),
]
Damping = Annotated[
    float | None,
    _option(
        _NATURAL,
        "Added to the Fisher matrix (hylo, sngd, kfac) or the Hessian (newton); of curvature "
        "pairs (pbfgs).",
        "0.3, newton 0.001, pbfgs 0.2",
    ),
]
OnFailure = Annotated[
    str | None,
    _option(_SUBSPACE, "After a failed line search: stay, or paper (pbfgs).", "stay"),
]
InitialScaling = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Scale the first inverse Hessian to the first pair's curvature (pbfgs).",
        "do",
        "--initial-scaling/--no-initial-scaling",
    ),
]
Alpha = Annotated[
    float | None,
    _option(_SUBSPACE, "Learning rate outside the subspace: P+BFGS (pbfgs).", "0"),
]
Refresh = Annotated[
    int | None,
    _option(_NATURAL, "Steps between refreshes of the curvature.", "100"),
]
Rank = Annotated[
    float | None,
    _option(_NATURAL, "Fraction of the batch's examples to keep (hylo).", "0.1"),
]
Selection = Annotated[
    str | None,
    _option(
        _NATURAL,
        "Which examples: kid, kis, or hybrid, kid in critical epochs only (hylo).",
        "hybrid",
    ),
]
Threshold = Annotated[
    float | None,
    _option(
        _NATURAL,
        "Relative change of an epoch's gradient norm that makes the next one critical (hylo).",
        "0.5",
    ),
]
Memory = Annotated[
    int | None,
    _option(_NATURAL, "Renewals whose examples are used together (hylo).", "1"),
]
HalfSamples = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Keep samples as float16, in half the space (dldr).",
        "float32",
        "--half-samples/--no-half-samples",
    ),
]
SampleEvery = Annotated[
    str | None,
    _option(
        _SUBSPACE,
        "Record the parameters for a later method: epoch, or a number of steps.",
        "epoch for dldr, else never",
        parser=values.sampling,
        metavar="WHEN",
    ),
]
Basis = Annotated[
    str | None,
    _option(_SUBSPACE, "Kind of random directions; `subspace list` describes them.", "hadamard"),
]
Compartments = Annotated[
    str | None,
    _option(_SUBSPACE, "Parameters that share directions: whole, layer, leaf or even:K.", "whole"),
]
Allocate = Annotated[
    str | None,
    _option(_SUBSPACE, "Dimensions of each compartment: same, split or proportional.", "same"),
]
RedrawEvery = Annotated[
    int | None,
    _option(_SUBSPACE, "Steps between redraws of the directions (rbd).", "1"),
]
Scale = Annotated[
    str | None,
    _option(_SUBSPACE, "Length of the directions: unit, or paper as in the RBD code.", "unit"),
]
Sigma = Annotated[
    float | None,
    _option(_SUBSPACE, "Standard deviation of each parameter's perturbation (nes).", "0.01"),
]
Antithetic = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Evaluate every direction both ways (nes).",
        "one way",
        "--antithetic/--no-antithetic",
    ),
]
Shaping = Annotated[
    str | None,
    _option(_SUBSPACE, "What losses become (nes): ranks, normalise or none.", "ranks"),
]
ErrorFeedback = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Add to each gradient what the subspaces have missed so far (rbd).",
        "forget it",
        "--error-feedback/--no-error-feedback",
    ),
]
Recent = Annotated[
    int | None,
    _option(
        _SUBSPACE, "So many directions of past steps beside the random ones (rbd).", "0", min=0
    ),
]
Preset = Annotated[
    str | None,
    _option(
        _SUBSPACE,
        "Settings that go well together: strong is --error-feedback --recent 3 (rbd).",
        "none",
    ),
]
InLaw = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Draw the step of normal rows from its exact law, at SGD's speed (rbd --basis normal).",
        "draw the rows",
        "--in-law/--no-in-law",
    ),
]
SeparateBatches = Annotated[
    bool | None,
    _option(
        _SUBSPACE,
        "Measure each direction on its own share of the batch (nes).",
        "on all of it",
        "--separate-batches/--same-batch",
    ),
]
Epochs = Annotated[
    int | None,
    _option(
        _TRAINING,
        "Passes over the training split; on --resume, more of them go on.",
        "10, digits 30; dldr 30, psgd 40, pbfgs and newton 20",
    ),
]
BatchSize = Annotated[
    int | None,
    _option(_TRAINING, "Examples in a step.", "32; dldr and psgd 128, pbfgs and newton 1024"),
]
Milestones = Annotated[
    str | None,
    _option(
        _TRAINING,
        "Epochs after which the learning rate drops to a tenth, as in 100,150.",
        "none; dldr 100,150, psgd 30,50",
        parser=values.milestones,
        metavar="EPOCHS",
    ),
]
LearningRate = Annotated[
    float | None,
    _option(
        _TRAINING, "Learning rate, by method, model and dataset.", "see `subspace list`", "--lr"
    ),
]
Momentum = Annotated[
    float | None,
    _option(_TRAINING, "Decay of the trace of past steps, below 1.", "0; dldr and psgd 0.9"),
]
WeightDecay = Annotated[
    float | None,
    _option(_TRAINING, "Multiple of the parameters added to the gradient.", "0; dldr 0.0001"),
]
Augment = Annotated[
    bool | None,
    _option(
        _TRAINING,
        "Random crops, and flips or brightness, as in the papers.",
        "on, except for digits",
        "--augment/--no-augment",
    ),
]
Validation = Annotated[
    float | None,
    _option(_TRAINING, "Fraction of the training images to hold out; 0 for none.", "0.1"),
]
Seed = Annotated[
    int | None,
    _option(_TRAINING, "Of initialisation, data order and directions.", "0"),
]
LabelNoise = Annotated[
    float | None,
    _option(_TASK, "Fraction of the training labels to replace by other classes.", "0"),
]
Diagnose = Annotated[
    int | None,
    _option(
        _OUTPUT,
        "Steps between measurements of the step beside the gradient, in diagnostics.jsonl.",
        "never",
    ),
]
RecalibrateBN = Annotated[
    bool | None,
    _option(
        _TRAINING,
        "After a phase in a subspace, average batch norm's statistics over the training split.",
        "keep running means",
        "--recalibrate-bn/--no-recalibrate-bn",
    ),
]
Out = Annotated[
    Path | None,
    _option(_OUTPUT, "Folder to write.", "a new one, runs/METHOD-MODEL-DATASET"),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue the run in --out from its newest checkpoint.",
        rich_help_panel=_OUTPUT,
    ),
]
CheckpointEvery = Annotated[
    int | None,
    _option(_OUTPUT, "Epochs between checkpoints.", "1"),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Also write TensorBoard event files, to RUN/tensorboard; needs tensorboardX.",
        rich_help_panel=_OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one line of JSON; other text to stderr."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]
DataDirNow = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="TFDS directory that holds the dataset now.", show_default="the run's"
    ),
]

Workers = Annotated[
    int | None,
    _option(
        _WORKERS,
        "How many share a step; on CPU as many devices are made.",
        "one for each device",
        min=1,
    ),
]
Exchange = Annotated[
    str | None,
    _option(
        _WORKERS,
        "mean of shared coordinates, independent directions, or split directions (rbd, fpd, nes).",
        "mean",
    ),
]
Combine = Annotated[
    str | None,
    _option(_WORKERS, "Steps of independent workers: their sum or mean.", "sum"),
]
LogCoordinates = Annotated[
    bool | None,
    _option(
        _WORKERS,
        "Keep every step's coordinates, for `subspace replay` (rbd, fpd, nes).",
        "off",
        "--log-coordinates/--no-log-coordinates",
    ),
]
Distributed = Annotated[
    bool,
    typer.Option(
        "--distributed",
        help="Be one of the processes of a run: the same command in each.",
        rich_help_panel=_WORKERS,
    ),
]
Coordinator = Annotated[
    str | None,
    _option(_WORKERS, "HOST:PORT of process 0.", "inferred on TPU pods, SLURM, Kubernetes"),
]
NumProcesses = Annotated[int | None, _option(_WORKERS, "How many processes.", "inferred", min=1)]
ProcessId = Annotated[int | None, _option(_WORKERS, "Of this process, from 0.", "inferred", min=0)]
