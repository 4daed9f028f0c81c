"""``subspace run``: train, or continue to train."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from . import options
from .errors import DIVERGED, fail
from .show import make_console, print_json, say
from .signals import StopSignals
from .then import read_phase

if TYPE_CHECKING:
    from rich.console import Console

    from subspace.config.run import RunConfig
    from subspace.store.folder import RunFolder
    from subspace.train.callbacks import Diverged, Watcher

_SIGTERM = 128 + 15
_JOINING = ("distributed", "coordinator", "num_processes", "process_id")


def run(
    method: options.Method = None,
    preset: options.Preset = None,
    then: options.Then = None,
    source: options.Source = None,
    init_from: options.InitFrom = None,
    stream: options.Stream = None,
    image_size: options.ImageSize = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    model: options.Model = None,
    dim: options.Dim = None,
    basis: options.Basis = None,
    compartments: options.Compartments = None,
    allocate: options.Allocate = None,
    redraw_every: options.RedrawEvery = None,
    scale: options.Scale = None,
    sigma: options.Sigma = None,
    antithetic: options.Antithetic = None,
    shaping: options.Shaping = None,
    error_feedback: options.ErrorFeedback = None,
    recent: options.Recent = None,
    in_law: options.InLaw = None,
    separate_batches: options.SeparateBatches = None,
    start: options.Start = None,
    pairs: options.Pairs = None,
    damping: options.Damping = None,
    on_failure: options.OnFailure = None,
    initial_scaling: options.InitialScaling = None,
    alpha: options.Alpha = None,
    refresh: options.Refresh = None,
    rank: options.Rank = None,
    selection: options.Selection = None,
    threshold: options.Threshold = None,
    memory: options.Memory = None,
    sample_every: options.SampleEvery = None,
    half_samples: options.HalfSamples = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    momentum: options.Momentum = None,
    weight_decay: options.WeightDecay = None,
    milestones: options.Milestones = None,
    augment: options.Augment = None,
    validation: options.Validation = None,
    seed: options.Seed = None,
    label_noise: options.LabelNoise = None,
    recalibrate_bn: options.RecalibrateBN = None,
    diagnose: options.Diagnose = None,
    workers: options.Workers = None,
    exchange: options.Exchange = None,
    combine: options.Combine = None,
    log_coordinates: options.LogCoordinates = None,
    distributed: options.Distributed = False,
    coordinator: options.Coordinator = None,
    num_processes: options.NumProcesses = None,
    process_id: options.ProcessId = None,
    out: options.Out = None,
    resume: options.Resume = False,
    checkpoint_every: options.CheckpointEvery = None,
    tensorboard: options.TensorBoard = False,
    json: options.Json = False,
) -> None:
    """Train a network with METHOD, and write a run folder.

    Options describe METHOD; each --then its own. Ctrl-C saves a checkpoint; --resume goes on
    from it.
    """
    given: dict[str, Any] = dict(locals())
    for name in ("then", "out", "resume", "json", "tensorboard", *_JOINING):
        del given[name]
    given |= {name: absolute(given[name]) for name in ("data_dir", "source", "init_from")}
    _check_method(method, resume)
    _join(distributed, coordinator, num_processes, process_id, workers)
    if tensorboard:
        from subspace.train.tensorboard import check_installed

        check_installed()
    _train(given, then or [], out, resume, json, tensorboard)


def _join(
    distributed: bool,
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    workers: int | None,
) -> None:
    """Makes the devices, or joins the processes, of the run; before anything uses JAX."""
    from subspace.distributed import join
    from subspace.errors import InvalidInput

    if distributed:
        join(coordinator, num_processes, process_id)
    elif (coordinator, num_processes, process_id) != (None, None, None):
        raise InvalidInput("distributed", "is needed with --coordinator and its like")
    elif workers is not None:
        _make_cpu_devices(workers)


def _make_cpu_devices(count: int) -> None:
    import jax

    if count > (
        os.cpu_count() or 1
    ):  # with fewer threads than devices XLA's collectives can starve
        os.environ.setdefault("NPROC", str(2 * count))
    with suppress(RuntimeError):  # JAX has its devices already; the workers share them
        jax.config.update("jax_num_cpu_devices", count)


def absolute(path: Path | None) -> str | None:
    """A path that a run can be continued with from anywhere."""
    return os.path.abspath(os.path.expanduser(path)) if path else None


def _check_method(method: str | None, resume: bool) -> None:
    if method is not None or resume:
        return
    from subspace.errors import InvalidInput
    from subspace.methods.registry import METHODS

    raise InvalidInput("method", f"say which: {', '.join(METHODS)}; e.g. `subspace run rbd`")


def _train(
    given: dict[str, Any],
    then: list[str],
    out: Path | None,
    resume: bool,
    json: bool,
    tensorboard: bool,
) -> None:
    from subspace import distributed
    from subspace.run import run as library
    from subspace.train import callbacks as watch

    from .finish import show_results
    from .progress import Display

    main = distributed.is_main()
    console = make_console(stderr=json, quiet=not main)
    if not resume:
        given = given | _tuned(given, console)
    config, folder = library.request(given, out, resume, [read_phase(text) for text in then])
    if config.dataset != "digits":
        say(console, f"Loading {config.dataset} ...")
    signals = StopSignals(nothing_to_save=lambda: not folder.config_file.exists())
    several = distributed.is_one_of_several()  # then JAX takes SIGTERM, so that all stop together
    try:
        with nullcontext() if several else signals, Display(console, config, folder) as display:
            watcher = display.watcher(signals.requested)
            with _also_to_tensorboard(watcher, folder, tensorboard and main) as watcher:
                summary = library.execute(config, folder, resume=resume, watcher=watcher)
    except watch.Stopped:
        if main:
            _say_how_to_resume(config, folder)
        raise typer.Exit(_SIGTERM if several else signals.exit_code) from None
    except watch.Diverged as error:
        _fail_diverged(error, config, folder)
    if not main:
        return
    show_results(console, config, folder, summary)
    if json:
        print_json(summary | {"run": str(folder.path)})


@contextmanager
def _also_to_tensorboard(watcher: Watcher, folder: RunFolder, wanted: bool) -> Iterator[Watcher]:
    if not wanted:
        yield watcher
        return
    from subspace.train.tensorboard import events

    with ExitStack() as stack:
        writers: list[Callable[[dict[str, Any]], None]] = []

        def tell(record: dict[str, Any]) -> None:
            if not writers:  # not before the run has its folder, which has to be empty
                writers.append(stack.enter_context(events(folder.path / "tensorboard")))
            writers[0](record)
            watcher.on_epoch(record)

        yield replace(watcher, on_epoch=tell)


def _tuned(given: dict[str, Any], console: Console) -> dict[str, Any]:
    """The learning rate that was found for such a run before, if none is given."""
    from subspace.store import tuned

    rate, remarks = tuned.find(given)
    if not console.quiet:
        for remark in remarks:
            typer.echo(f"Warning: {remark}; ignored", err=True)
    if rate is None:
        return {}
    say(console, f"lr {rate:g}, tuned before ({tuned.FILE})")
    return {"learning_rate": rate}


def _say_how_to_resume(config: RunConfig, folder: RunFolder) -> None:
    path = shlex.quote(str(folder.path))
    typer.echo("Stopped; a checkpoint is saved. Resume with:", err=True)
    method = config.phases[0].method
    typer.echo(f"  subspace run {method} --out {path} --resume", err=True)


def _fail_diverged(error: Diverged, config: RunConfig, folder: RunFolder) -> NoReturn:
    from subspace.methods import rates as defaults

    good = "no checkpoint was saved before"
    if error.last_good is not None:
        good = f"the last good checkpoint is {folder.checkpoints / str(error.last_good)}"
    phase = config.phases[error.phase]
    if phase.learning_rate is None:
        fail(f"{error}; {good}", DIVERGED)
    usual = defaults.learning_rate(
        phase.method, config.model, config.dataset, bool(phase.error_feedback)
    )
    smaller = min(phase.learning_rate / 4, usual.learning_rate)
    where = f" for {phase.method}" if error.phase else ""
    fail(f"{error}; {good}; start again with a smaller --lr{where}, such as {smaller:g}", DIVERGED)
