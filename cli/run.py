"""``subspace run``: train, or continue to train."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from . import devices, options
from .errors import DIVERGED, fail
from .output import tell, warn
from .show import make_console, print_json, say
from .signals import StopSignals, as_sigterm
from .then import read_phase

if TYPE_CHECKING:
    from rich.console import Console

    from subspace.config.run import RunConfig
    from subspace.store.folder import RunFolder
    from subspace.train.callbacks import Callback, Diverged

_SIGTERM = 128 + 15


_WORKERS, _OUTPUT = "Several devices and processes", "Run folder"


@options.takes_a_run()
def run(
    given: dict[str, Any],
    then: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD[:key=value,...]",
            help="Go on with another method, e.g. pbfgs:dim=15,epochs=20. Can be repeated.",
            rich_help_panel="What to train",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Options from a file, TOML or YAML, or a run's config.json; flags override it.",
            rich_help_panel="What to train",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option by name, over those of --config. Can be repeated.",
            rich_help_panel="What to train",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write. Default: a new one, runs/METHOD-MODEL-DATASET.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --out from its newest checkpoint.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write TensorBoard event files, to RUN/tensorboard; needs tensorboardX.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what the run would be: D, d, steps, memory, time. Writes nothing.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print nothing but warnings and errors.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Print every option of the run first, the defaults too.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|gpu|tpu[:I]",
            help="Kind of device, or which one of several.",
            show_default="what JAX finds",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="Be one of the processes of a run: the same command in each.",
            rich_help_panel=_WORKERS,
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of process 0. Default: inferred on TPU pods, SLURM, Kubernetes.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    num_processes: Annotated[
        int | None,
        options.whole("How many processes.", rich_help_panel=_WORKERS),
    ] = None,
    process_id: Annotated[
        int | None,
        options.whole("Of this process, from 0.", rich_help_panel=_WORKERS),
    ] = None,
    timeout: Annotated[
        float,
        options.real("Seconds to wait for the other processes.", rich_help_panel=_WORKERS),
    ] = 60.0,
    json: options.Json = False,
) -> None:
    """Train a network with METHOD, and write a run folder.

    Options describe METHOD; each --then its own. Ctrl-C saves a checkpoint; --resume goes on
    from it.
    """
    given, phases = _with_config(given, config, settings or [], then or [])
    _check_method(given.get("method"), resume)
    place = (coordinator, num_processes, process_id)
    devices.choose(device)
    _join(distributed, place, timeout, given)
    devices.check(device)
    if tensorboard:
        from subspace.train.tensorboard import check_installed

        check_installed()
    said = Said(json, quiet, verbose)
    if dry_run:
        return _say_what_it_would_be(given, phases, out, resume, said)
    _train(given, phases, out, resume, tensorboard, said)


class Said(NamedTuple):
    """What a command prints."""

    json: bool
    quiet: bool
    verbose: bool

    def console(self, main: bool) -> Console:
        return make_console(stderr=self.json, quiet=self.quiet or not main)


def _say_what_it_would_be(
    given: dict[str, Any], then: list[dict[str, Any]], out: Path | None, resume: bool, said: Said
) -> None:
    from subspace import run as library
    from subspace.run.estimate import estimate

    from .finish import show_estimate

    config, _ = library.request(given, out, resume, then)
    found = estimate(config)
    if said.json:
        return print_json(found)
    show_estimate(make_console(), config, found)


def _with_config(
    given: dict[str, Any], config: Path | None, settings: list[str], then: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of a file, over them those by name, over them the flags; ``--then`` replaces."""
    phases: list[dict[str, Any]] = []
    if config is not None or settings:
        from .config_file import read_config, read_settings

        told: dict[str, Any] = {}
        if config is not None:
            told, phases = read_config(config)
        flags = {name: value for name, value in given.items() if value is not None}
        given = given | told | read_settings(settings) | flags
    return given, [read_phase(text) for text in then] or phases


Place = tuple[str | None, int | None, int | None]
"""The coordinator's address, how many processes there are, and which one this is."""


def _join(distributed: bool, place: Place, timeout: float, given: dict[str, Any]) -> None:
    """Makes the devices, or joins the processes, of the run; before anything uses JAX."""
    from subspace.distributed import join
    from subspace.errors import InvalidInput

    from .launch import end_with_the_launcher

    if distributed:
        end_with_the_launcher()
        join(*place, timeout)
    elif place != (None, None, None):
        raise InvalidInput("distributed", "is needed with --coordinator and its like")
    elif given.get("workers") is not None:
        from subspace.config.run import RunConfig, participants
        from subspace.options import check_value, fields_of

        shared = {name: given.get(name) for name in ("workers", "participation")}
        for name, value in shared.items():
            check_value(fields_of(RunConfig)[name], value)
        _make_cpu_devices(participants(**shared) or 1)


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
    from subspace.methods import METHODS

    raise InvalidInput("method", f"say which: {', '.join(METHODS)}; e.g. `subspace run rbd`")


def _train(
    given: dict[str, Any],
    then: list[dict[str, Any]],
    out: Path | None,
    resume: bool,
    tensorboard: bool,
    said: Said,
) -> None:
    from subspace import distributed
    from subspace import run as library
    from subspace.train.callbacks import Diverged, Stopped, together

    from .finish import show_options, show_results
    from .progress import Display

    main = distributed.is_main()
    console = said.console(main)
    if not resume:
        given = given | _tuned(given, console)
    config, folder = library.request(given, out, resume, then)
    if config.dataset != "digits":
        say(console, f"Loading {config.dataset} ...")
    if said.verbose:
        show_options(console, config)
    signals = StopSignals(nothing_to_save=lambda: not folder.config_file.exists())
    several = distributed.is_one_of_several()  # then JAX takes SIGTERM, so that all stop together
    try:
        with (
            as_sigterm() if several else signals,
            Display(console, config, folder) as display,
            _events(folder, tensorboard and main) as events,
        ):
            callback = together([*events, display.callback(signals.requested)])
            summary = library.execute(config, folder, resume=resume, callback=callback)
    except Stopped:
        if main:
            _say_how_to_resume(config, folder, signals.stopped)
        raise typer.Exit(_SIGTERM if several else signals.exit_code) from None
    except Diverged as error:
        _fail_diverged(error, config, folder)
    if not main:
        return
    show_results(console, config, folder, summary)
    if said.json:
        print_json(summary | {"run": str(folder.path)})


@contextmanager
def _events(folder: RunFolder, wanted: bool) -> Iterator[list[Callback]]:
    if not wanted:
        yield []
        return
    from subspace.train.tensorboard import events

    with events(folder.path / "tensorboard") as callback:
        yield [callback]


def _tuned(given: dict[str, Any], console: Console) -> dict[str, Any]:
    """The learning rate that was found for such a run before, if none is given."""
    from subspace.store import tuned

    rate, remarks = tuned.find(given)
    if not console.quiet:
        for remark in remarks:
            warn(f"{remark}; ignored")
    if rate is None:
        return {}
    say(console, f"lr {rate:g}, tuned before ({tuned.FILE})")
    return {"learning_rate": rate}


def _say_how_to_resume(config: RunConfig, folder: RunFolder, stopped: str) -> None:
    path = shlex.quote(str(folder.path))
    tell(f"{stopped}; a checkpoint is saved. Resume with:")
    tell(f"  subspace run {config.phases[0].method.name} --out {path} --resume")


def _fail_diverged(error: Diverged, config: RunConfig, folder: RunFolder) -> NoReturn:
    from subspace.methods import rates

    good = "no checkpoint was saved before"
    if error.last_good is not None:
        good = f"the last good checkpoint is {folder.checkpoints / str(error.last_good)}"
    phase = config.phases[error.phase]
    if phase.learning_rate is None:
        fail(f"{error}; {good}", DIVERGED)
    usual = rates.learning_rate(phase.method.rate_name, config.model, config.dataset)
    smaller = min(phase.learning_rate / 4, usual.learning_rate)
    where = f" for {phase.method.name}" if error.phase else ""
    fail(f"{error}; {good}; start again with a smaller --lr{where}, such as {smaller:g}", DIVERGED)
