"""``subspace replay``: the weights of a run at any step, from seeds and coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .run import absolute
from .show import count, make_console, number, print_json, say

DIFFERS = 1


def replay(
    run: options.Run,
    step: Annotated[
        int | None,
        options.whole(
            "At which step.",
            show_default="the last logged",
        ),
    ] = None,
    since: Annotated[
        int | None,
        options.whole(
            "Begin at the newest checkpoint up to this step, as a worker that was away does.",
            show_default="the start",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare with checkpoints; exit code 1 if one differs or can't be compared.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the parameters there, as .npz.")] = None,
    data_dir: options.DataDirNow = None,
    json: options.Json = False,
) -> None:
    """Rebuild the weights of a run at any step from its seed and logged coordinates alone.

    For runs with --log-coordinates. Without --step, --verify compares at every checkpoint.
    """
    from subspace.run import replay as library
    from subspace.store.folder import RunFolder

    found = library.replay(
        RunFolder(run),
        step=step,
        since=since,
        verify=verify,
        out=out,
        data_dir=absolute(data_dir),
    )
    if json:
        print_json({"run": str(run)} | found)
    else:
        _show(run, found)
    if found["verified"] is False:
        raise typer.Exit(DIFFERS)


def _show(run: Path, found: dict[str, Any]) -> None:
    console = make_console()
    if found["cut_short"]:
        say(console, f"The log is whole up to step {count(found['logged'])} only.")
    say(console, f"Rebuilt {run} at step {count(found['step'])}: {found['digest']}")
    if found["since"]:
        numbers, since = count(found["numbers"]), count(found["since"])
        say(console, f"From the checkpoint of step {since} and {numbers} coordinates since then")
    for at, gap in found["differences"].items():
        same = "the same bits as" if gap == 0 else f"differs by up to {number(gap)} from"
        say(console, f"  step {count(at)}: {same} the checkpoint")
    if found["verified"] is not None:
        compared, rest = len(found["differences"]), found["not_compared"]
        say(console, f"Compared with {compared} of {compared + len(rest)} checkpoints")
    for at in found["not_compared"]:
        say(console, f"  step {count(at)}: not compared; the checkpoint or the log is damaged")
    if found["out"]:
        say(console, f"Wrote {found['out']}")
