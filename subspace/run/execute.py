"""A run from request to summary: what the command line, and your script, calls."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from subspace import distributed
from subspace.config.run import RunConfig
from subspace.data.dataset import Dataset, Wanted
from subspace.data.noise import with_label_noise
from subspace.errors import InvalidInput, one_of
from subspace.run.pictures import plot_curves, plot_variance
from subspace.run.summary import summarize
from subspace.spaces.components import explained_variance_ratio
from subspace.store.checkpoint import Checkpoints
from subspace.store.circumstances import check_same
from subspace.store.folder import RunFolder, resume_config
from subspace.store.samples import read_rows
from subspace.store.source import newest_weights, read_source, starting_weights, taken_over
from subspace.store.weights import Weights
from subspace.tasks import TASKS, Metric
from subspace.train.callbacks import Callback, Diverged, Stopped
from subspace.train.diagnose import mean_diagnostics
from subspace.train.loop import Loop
from subspace.train.trainer import Trainer

_SPLITS = ("train", "validation", "test")


def request(
    given: Mapping[str, Any],
    out: Path | None = None,
    resume: bool = False,
    then: Sequence[Mapping[str, Any]] = (),
) -> tuple[RunConfig, RunFolder]:
    """The configuration and folder that a request means; writes nothing.

    Args:
        given: fields of `RunConfig` and of its first phase; what is missing or None takes its
            default, or on resuming the value of the run.
        out: the run's folder; by default a new one under ``runs/``.
        resume: continue the run in ``out``.
        then: fields of the phases that follow.

    Raises:
        InvalidInput: something can't be used; says which and what to do.
    """
    if not resume:
        config = RunConfig.resolve(*taken_over(given, then))
        config = _with_workers(config)
        out = out or _free(f"{config.methods}-{config.model}-{config.data_name}")
        folder = RunFolder(Path(distributed.agreed(str(out))), distributed.is_main())
        folder.check_free()
        return config, folder
    if out is None:
        raise InvalidInput("resume", "say which run: --out RUN --resume")
    if then:
        raise InvalidInput("then", "a run to resume has its phases already; leave it out")
    folder = RunFolder(out, distributed.is_main())
    config = resume_config(folder.read_config(), dict(given))
    folder.check_resumable(config)
    return config, folder


def _with_workers(config: RunConfig) -> RunConfig:
    """With as many workers as devices, where their number is part of what the run is."""
    alike = all(phase.shares_by_mean for phase in config.phases) and not config.divides_examples
    if config.workers or alike:
        return config
    return replace(config, workers=jax.device_count())


def _free(name: str) -> Path:
    base = Path("runs") / name.replace("/", "-").replace(":", "-")
    path, count = base, 1
    while path.exists():
        count += 1
        path = base.with_name(f"{base.name}-{count}")
    return path


def load(config: RunConfig) -> Dataset:
    """A run's data."""
    wanted = {name: getattr(config, name) for name in Wanted._fields if name != "name"}
    dataset = TASKS[config.task].load(Wanted(config.dataset, **wanted))
    return with_label_noise(dataset, config.label_noise, config.seed)


def execute(
    config: RunConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    callback: Callback = Callback(),
) -> dict[str, Any]:
    """Trains, and writes everything that a run folder holds.

    Returns:
        The summary, as in summary.json.

    Raises:
        InvalidInput: before anything is written.
        Stopped, Diverged: see `subspace.train.loop.Loop.run`.
    """
    taken = folder if resume and folder.has_checkpoint() else None
    trainer = Trainer(config, load(config), lambda fresh: read_source(config, fresh, taken))
    with started(folder, trainer, resume=resume, callback=callback) as loop:
        try:
            results = loop.run()
        except (Stopped, Diverged):
            _draw_curves(folder, trainer)
            raise
        return finish(folder, trainer, results)


@contextmanager
def started(
    folder: RunFolder,
    trainer: Trainer,
    *,
    resume: bool = False,
    callback: Callback = Callback(),
    keep: bool = True,
) -> Iterator[Loop]:
    """A loop that stands before its next step, with all that it needs on disk.

    Args:
        keep: write the configuration, and checkpoints; else it is a new folder.
    """
    config, rows = trainer.config, trainer.source_rows
    distributed.wait_for_all("all have checked the folder")
    if not keep:
        folder.path.mkdir()
        folder.keep_source_rows(rows)
    with folder.writing(None if resume else config, rows) if keep else nullcontext():
        distributed.wait_for_all("the folder is there")
        checkpoints = Checkpoints(folder.checkpoints, keep=config.keep) if keep else None
        loop = Loop(trainer, folder, checkpoints, callback)
        try:
            if resume:
                _go_on(loop)
            else:
                loop.enter(0)
            yield loop
        finally:
            loop.close()


def _go_on(loop: Loop) -> None:
    """From the newest checkpoint; from the beginning if the run came to none."""
    for remark in loop.folder.check_resumable(loop.trainer.config):
        loop.callback.on_warning(remark)
    if loop.folder.has_checkpoint():
        loop.restore()
    else:
        loop.folder.keep_source_rows(loop.trainer.source_rows)
        loop.enter(0)
    loop.folder.rewrite(loop.trainer.config, loop.done)


def finish(folder: RunFolder, trainer: Trainer, results: dict[str, Any]) -> dict[str, Any]:
    """Writes the summary of a run that has ended, and its pictures; returns the summary."""
    summary = summarize(trainer, results, folder.records())
    if folder.writes:
        summary["explained_variance_ratio"] = _draw_variance(folder, trainer)
        if trainer.config.diagnose:
            summary["diagnostics"] = mean_diagnostics(folder.diagnostics())
        folder.write_summary(summary)
        _draw_curves(folder, trainer)
    return summary


def _draw_curves(folder: RunFolder, trainer: Trainer) -> None:
    records, config = folder.records(), trainer.config
    if records and folder.writes:
        sizes = [phase.values.get("dim") for phase in config.phases]
        methods = [
            phase.method.name if d is None else f"{phase.method.name} (d = {d:g})"
            for phase, d in zip(config.phases, sizes, strict=True)
        ]
        title = f"{' → '.join(methods)} · {config.model} · {config.data_name}"
        plot_curves(folder.curve_file, [("", records)], trainer.task.metrics, title)


def _draw_variance(folder: RunFolder, trainer: Trainer) -> list[float] | None:
    """Draws what the last trajectory's directions explain, and returns it; None without any."""
    sampling = trainer.config.sampled_by(len(trainer.phases))
    if sampling is None:
        return None
    try:
        rows = read_rows(folder.trajectory_file(sampling), trainer.row_size)
        ratio = explained_variance_ratio(rows[:, : trainer.parameters])
    except InvalidInput:  # it is damaged, or doesn't move; the run is none the worse for it
        return None
    plot_variance(folder.variance_file, ratio, f"trajectory of {len(rows)} samples")
    return [float(share) for share in ratio]


def evaluate(
    folder: RunFolder,
    split: str = "test",
    data_dir: str | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """The metrics of a run's newest checkpoint.

    Args:
        folder: of the run.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        data_dir: where the dataset is now; by default where it was.
        file: of weights for its model, instead of the checkpoint's.

    Returns:
        ``split``, ``step`` of the checkpoint, the task's metrics by name, and the steps of newer
        checkpoints that are ``damaged``.

    Raises:
        InvalidInput: no run, no whole checkpoint, or no such split.
    """
    one_of("split", split, _SPLITS)
    trainer, weights, step, damaged = saved(folder, data_dir)
    if file is not None:
        weights = starting_weights(file, weights, "weights")
    figures = _measured(trainer, weights, split)
    return {"split": split, "step": step, **figures, "damaged": damaged}


def evaluate_start(given: Mapping[str, Any], split: str = "test") -> dict[str, Any]:
    """The metrics of weights that no run has made yet: those that a run would begin with.

    Args:
        given: ``init_from``, ``model``, ``dataset`` and other fields of `RunConfig`.
        split: as for `evaluate`.

    Returns:
        ``split``, ``task``, and the task's metrics by name.

    Raises:
        InvalidInput: something can't be used; says which and what to do.
    """
    one_of("split", split, _SPLITS)
    config = RunConfig.resolve({**given, "method": "sgd", "batch_size": 1})
    trainer = Trainer(config, load(config), lambda fresh: read_source(config, fresh, None))
    figures = _measured(trainer, trainer.weights, split)
    return {"split": split, "task": config.task, **figures}


def _measured(trainer: Trainer, weights: Weights, split: str) -> dict[str, float]:
    part = getattr(trainer.dataset, split)
    if not len(part.targets):
        raise InvalidInput("split", f"the run has no {split} split; use train or test")
    return trainer.evaluate(trainer.placed(weights), part)


class Saved(NamedTuple):
    """What a run has come to.

    Attributes:
        weights: of the newest whole checkpoint.
        step: that it was made after.
        damaged: the steps of newer ones that can't be read.
    """

    trainer: Trainer
    weights: Weights
    step: int
    damaged: list[int]


def opened(folder: RunFolder, data_dir: str | None = None) -> Trainer:
    """The trainer of a run that has checkpoints, with fresh weights.

    Raises:
        InvalidInput: no run, no checkpoint, or its numbers would be others here.
    """
    config = folder.read_config("run")
    check_same(folder.made_with("run"), "run")
    folder.check_checkpoints("run")
    config = replace(config.by_itself(), data_dir=data_dir or config.data_dir)
    return Trainer(config, load(config))


def saved(folder: RunFolder, data_dir: str | None = None) -> Saved:
    """Opens a run, with its dataset where it was or in ``data_dir``.

    Raises:
        InvalidInput: no run, or no whole checkpoint.
    """
    trainer = opened(folder, data_dir)
    weights, meta, damaged = newest_weights(folder, trainer.weights, "run")
    for step in damaged:
        what = f"the checkpoint of step {step} is damaged"
        warnings.warn(f"{what}; that of step {meta['step']} stands for it", stacklevel=2)
    return Saved(trainer, weights, int(meta["step"]), damaged)


def compare(folders: list[RunFolder], plot: Path | None = None) -> list[dict[str, Any]]:
    """The summaries of finished runs, and their curves in one picture.

    Raises:
        InvalidInput: a run is missing, unfinished or damaged, or the plot can't be written.
    """
    if plot is not None:
        check_plot(plot)
    summaries = [{"run": str(folder.path)} | folder.summary() for folder in folders]
    if plot is not None:
        curves = [(folder.path.name, _recorded(folder)) for folder in folders]
        try:
            plot_curves(plot, curves, _shared(summaries), by_cost=True)
        except OSError as error:
            raise InvalidInput("plot", f"can't write {plot}: {error.strerror}") from None
    return summaries


def _recorded(folder: RunFolder) -> list[dict[str, Any]]:
    """The records that are whole, with a warning of others."""
    records, damaged = folder.read_records()
    if not records:
        raise InvalidInput("run", f"{folder.path} has no records whose curve could be drawn")
    if damaged:
        lines = ", ".join(map(str, damaged))
        warnings.warn(f"{folder.metrics_file} is damaged, and left out: line {lines}", stacklevel=2)
    return records


def _shared(summaries: list[dict[str, Any]]) -> list[Metric]:
    """The metrics that the runs have in common, to be drawn beside each other."""
    listed = [[Metric(*one) for one in summary["metrics"]] for summary in summaries]
    return [metric for metric in listed[0] if all(metric in others for others in listed)]


def check_plot(plot: Path) -> None:
    """Raises InvalidInput unless a picture can be written there."""
    if plot.suffix.lower() != ".png":
        raise InvalidInput("plot", f"{plot} must end in .png")
    if plot.is_dir():
        raise InvalidInput("plot", f"{plot} is a folder; name a file in it")
    if not plot.parent.is_dir():
        raise InvalidInput("plot", f"there is no folder {plot.parent}; make it first")
