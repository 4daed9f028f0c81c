"""Whatever goes wrong, as one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from .options import COMPLETE, declared_fields, field_of
from .output import failed_output, safe_output, tell, warn

FAILED = 1
BAD_INPUT = 2
DIVERGED = 3

_FLAGS = {
    "method": "METHOD",
    "run": "RUN",
    "folder": "DIR",
    "file": "FILE",
}


class OneLineErrors(TyperGroup):
    """A group of commands that reports bad input in one line, without usage or traceback.

    A command with a run's options is completed when it is asked for, see `options.takes_a_run`.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        complete = getattr(getattr(command, "callback", None), COMPLETE, None)
        if complete is not None:
            command = _command(name or "", complete())
        return name, command, rest

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        command = super().main
        with _leaving_others(), safe_output(), _warnings_in_one_line():
            result = _guarded(lambda: command(*args, standalone_mode=False, **extra))
        if standalone_mode:
            sys.exit(result)
        return result


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with one line on stderr.

    Raises:
        SystemExit: always, with ``code``.
    """
    tell(f"Error: {' '.join(message.split())}")
    raise SystemExit(code)


def flag(field: str) -> str:
    """How the command line calls an argument of the library: ``data_dir`` is ``--data-dir``.

    Its own arguments, such as ``TARGET``, keep their names.
    """
    if field.isupper():
        return field
    if field in _FLAGS:
        return _FLAGS[field]
    declared = declared_fields()
    if field in declared:
        return field_of(field, declared[field]).flag
    return f"--{field.replace('_', '-')}"


def _command(name: str, function: Callable[..., Any]) -> Any:
    """A Typer command of a function."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(name)(function)
    return typer.main.get_command(app)


def _guarded(command: Callable[[], Any]) -> Any:
    try:
        result = command()
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    except OSError as error:
        fail(f"{error.filename or 'input or output'}: {error.strerror or error}", FAILED)
    except MemoryError:
        fail("there is not enough memory; use a smaller model, batch or dim", FAILED)
    except Exception as error:
        message = _bad_input(error)
        if message is None:
            raise
        fail(message, BAD_INPUT)
    error = failed_output()
    if error is None or result:  # what stopped because of it has said so
        return result
    if isinstance(error, BrokenPipeError):  # as in `subspace list | head`
        raise SystemExit(FAILED)
    fail(f"standard output: {error.strerror or error}", FAILED)


@contextmanager
def _leaving_others() -> Iterator[None]:
    """A process of several that fails ends at once: at its exit JAX would wait for the others."""
    try:
        yield
    except BaseException as error:
        jax = sys.modules.get("jax")
        if jax is None or not jax.distributed.is_initialized():
            raise
        if isinstance(error, jax.errors.JaxRuntimeError):
            why = str(error).splitlines()[0][:100]
            tell(f"Error: another process has ended, or can't be reached ({why}); use --resume")
        elif not isinstance(error, SystemExit):
            traceback.print_exc()
        code = error.code if isinstance(error, SystemExit) else FAILED
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else FAILED)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Python's own warnings, of ours that are meant for people; others are left as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning)
        before = warnings.showwarning

        def show(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
            if category is UserWarning:
                warn(str(message))
            else:
                before(message, category, filename, *rest, **more)

        warnings.showwarning = show
        yield


def _bad_input(error: Exception) -> str | None:
    """What is wrong with the input, if that is what the error says."""
    if isinstance(error, typer.BadParameter.__mro__[1]):  # UsageError, wherever Typer keeps it
        context = getattr(error, "ctx", None)
        help_ = f"; see `{context.command_path} --help`" if context else ""
        return f"{getattr(error, 'format_message')().rstrip('.')}{help_}"  # noqa: B009
    if isinstance(error, ValueError):
        from subspace.errors import InvalidInput

        if isinstance(error, InvalidInput):
            return f"{flag(error.field)}: {error.reason}"
    if traceback.extract_tb(error.__traceback__)[-1].filename.endswith("xla_bridge.py"):
        wanted = os.environ.get("JAX_PLATFORMS", "")
        why = " ".join(str(error).split()) or "there is no such device here"
        return f"JAX_PLATFORMS={wanted}: {why}; set it to cpu, or leave it out"
    return None
