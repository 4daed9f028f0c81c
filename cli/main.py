"""The application: its commands, and the entry point."""

from __future__ import annotations

from typing import Annotated

import typer

from .compare import compare
from .dimension import dimension
from .errors import OneLineErrors
from .evaluate import evaluate
from .export import apply, export
from .launch import launch
from .list import list_
from .probe import probe
from .replay import replay
from .report import report
from .reproduce import reproduce
from .run import run
from .sweep import sweep
from .tune import tune

app = typer.Typer(
    cls=OneLineErrors,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(evaluate)
app.command()(compare)
app.command()(export)
app.command()(apply)
app.command()(replay)
app.command()(reproduce)
app.command()(tune)
app.command()(sweep)
app.command()(dimension)
app.command()(probe)
app.command()(report)
app.command()(launch)
app.command("list")(list_)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"subspace {version('subspace-jax')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def subspace(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train neural networks in low-dimensional subspaces.

    Start with: subspace run rbd
    """
    del version  # its callback has done the work
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The console script."""
    app(prog_name="subspace")


if __name__ == "__main__":
    main()
