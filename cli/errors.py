"""Whatever goes wrong, as one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from .options import COMPLETE, declared_fields, field_of

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
        result = _guarded(lambda: command(*args, standalone_mode=False, **extra))
        if standalone_mode:
            sys.exit(result)
        return result


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with one line on stderr.

    Raises:
        SystemExit: always, with ``code``.
    """
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
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
    except BrokenPipeError:  # as in `subspace list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except Exception as error:
        message = _bad_input(error)
        if message is None:
            raise
        fail(message, BAD_INPUT)
    return result


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
    return None
