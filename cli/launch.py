"""``subspace launch``: the processes of one run, on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Annotated

import typer

from .errors import BAD_INPUT

_GRACE = 20.0  # seconds in which processes that are asked to end may save a checkpoint


def launch(
    command: Annotated[
        list[str], typer.Argument(metavar="-- run METHOD ...", help="What every process runs.")
    ],
    processes: Annotated[int, typer.Option(min=1, help="How many processes.")] = 2,
    devices_per_process: Annotated[
        int | None,
        typer.Option(min=1, help="CPU devices of each.", show_default="1 on CPU"),
    ] = None,
) -> None:
    """Run one training in several processes on this machine, as on as many machines.

    Lines are marked with the process that wrote them. The first one that fails ends all; Ctrl-C
    and SIGTERM let all save a checkpoint first.
    """
    from subspace.errors import InvalidInput

    if command[0] != "run":
        raise InvalidInput("launch", f"runs `run`, not {command[0]!r}; put it after --")
    coordinator = f"127.0.0.1:{_free_port()}"
    words = [*command, "--distributed", "--coordinator", coordinator]
    words += ["--num-processes", str(processes)]
    said: set[str] = set()
    started = [
        _start([*words, "--process-id", str(i)], i, devices_per_process, said)
        for i in range(processes)
    ]
    code = _watch([process for process, _ in started])
    for _, relay in started:
        relay.join()
    if code:
        raise typer.Exit(code)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _start(
    command: list[str], index: int, devices: int | None, said: set[str]
) -> tuple[subprocess.Popen[str], threading.Thread]:
    """A process of its own session, so that the terminal's Ctrl-C reaches the launcher alone."""
    env = dict(os.environ)
    if devices is not None:
        env["JAX_NUM_CPU_DEVICES"] = str(devices)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", __package__ or "subspace_cli", *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    relay = threading.Thread(target=_relay, args=(process, index, said))
    relay.start()
    return process, relay


def _relay(process: subprocess.Popen[str], index: int, said: set[str]) -> None:
    """Passes on what a process says; what is wrong for all of them only once."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Error: "):
            if line in said:
                continue
            said.add(line)
        typer.echo(f"[{index}] {line}", nl=False)


def _watch(group: list[subprocess.Popen[str]]) -> int:
    """Waits for all processes, and ends all when one fails or a signal comes; the exit code."""
    asked: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, frame: asked.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while True:
            codes = [process.poll() for process in group]
            failed = [i for i, code in enumerate(codes) if code]
            if asked:
                _end(group, _GRACE)
                return 128 + asked[0]
            if failed:
                first = failed[0]
                code = codes[first] or 0
                if code != BAD_INPUT:  # which the process has explained
                    typer.echo(f"Error: process {first} {_how(code)}; all end", err=True)
                _end(group, grace=2.0)
                return code if code > 0 else 128 - code
            if None not in codes:
                return 0
            time.sleep(0.1)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"


def _end(group: list[subprocess.Popen[str]], grace: float) -> None:
    """Asks all to stop, and after a while makes them."""
    for process in group:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    until = time.monotonic() + grace
    for process in group:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
