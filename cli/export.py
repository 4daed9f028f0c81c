"""``subspace export`` and ``apply``: a run as seeds and coordinates, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .run import absolute
from .show import make_console, print_json, say

Out = Annotated[Path, typer.Option("--out", help="A new .safetensors file.")]


def export(
    run: options.Run,
    out: Out,
    whole: Annotated[
        bool, typer.Option("--whole", help="All parameters, as --init-from takes them.")
    ] = False,
    numbers: Annotated[
        str, typer.Option(help="How coordinates are kept: float32, bfloat16 or int8.")
    ] = "float32",
    step: Annotated[
        int | None,
        options.whole(
            "Of an older checkpoint.",
            show_default="the newest",
        ),
    ] = None,
    data_dir: options.DataDirNow = None,
    json: options.Json = False,
) -> None:
    """Write a run's weights to a file: d coordinates of FPD, those of every step of RBD."""
    from subspace.run import export as library
    from subspace.store.folder import RunFolder

    made = library.export(
        RunFolder(run), out, whole=whole, numbers=numbers, step=step, data_dir=absolute(data_dir)
    )
    if json:
        print_json(made)
        return
    console = make_console()
    numbers = f"{made['numbers']:,} numbers for {made['parameters']:,} parameters"
    say(console, f"Wrote {out}: {made['bytes']:,} bytes, {numbers}")
    if not whole:
        say(console, "Next:")
        say(console, f"  subspace apply {out} --out weights.safetensors", style="cyan")


def apply(
    file: Annotated[Path, typer.Argument(help="From subspace export.")],
    out: Out,
    base: Annotated[
        str | None,
        typer.Option(
            help="The run, .safetensors file or package:NAME that the run began with. Default: "
            "where it was, or what the seed initialises."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Rebuild all weights from seeds, coordinates and the weights that a run began with."""
    from subspace.run import export as library

    made = library.apply(file, out, base)
    if json:
        print_json(made)
        return
    console = make_console()
    same = "bit for bit those exported" if made["exact"] else "those exported, but for rounding"
    say(console, f"Wrote {out}: {made['parameters']:,} parameters, {same}")
    say(console, "Next:")
    say(console, f"  subspace run fpd --init-from {out}", style="cyan")
    say(console, f"  subspace evaluate RUN --weights {out}", style="cyan")
