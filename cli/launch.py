"""``subspace launch``: the processes of one run, on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from . import options
from .errors import BAD_INPUT, FAILED
from .output import failed_output, shown, tell
from .signals import STOPS, ignored

_GRACE = 20.0  # seconds in which processes that are asked to end may save a checkpoint
_LAUNCHED = "SUBSPACE_LAUNCHED"
_CHATTER = re.compile(r"\[Gloo\] |[IW]\d{4} \d\d:")  # of C++, on connections and signals
_MOST = 4096


def launch(
    command: Annotated[
        list[str], typer.Argument(metavar="-- run METHOD ...", help="What every process runs.")
    ],
    processes: Annotated[int, options.whole("How many processes.")] = 2,
    devices_per_process: Annotated[
        int | None,
        options.whole("CPU devices of each.", show_default="1 on CPU"),
    ] = None,
) -> None:
    """Run one training in several processes on this machine, as on as many machines.

    Lines are marked with the process that wrote them. The first one that fails ends all; Ctrl-C
    and SIGTERM let all save a checkpoint first, and so does the end of the launcher itself.
    """
    from subspace.errors import InvalidInput

    if command[0] != "run":
        raise InvalidInput("COMMAND", f"launch runs `run`, not {command[0]!r}; put it after --")
    for name, value in (("processes", processes), ("devices_per_process", devices_per_process)):
        if value is not None and not 1 <= value <= _MOST:
            raise InvalidInput(name, f"must be at least 1 and at most {_MOST}, got {value}")
    coordinator = f"127.0.0.1:{_free_port()}"
    words = [*command, "--distributed", "--coordinator", coordinator]
    words += ["--num-processes", str(processes)]
    said: set[str] = set()
    with _signals() as asked:
        started = [
            _start([*words, "--process-id", str(i)], i, devices_per_process, said)
            for i in range(processes)
        ]
        code = _watch([process for process, _ in started], asked)
    for _, relay in started:
        relay.join()
    if code:
        raise typer.Exit(code)


def end_with_the_launcher() -> None:
    """In a process that was launched: ends it once the launcher is gone, however that ended."""
    if os.environ.pop(_LAUNCHED, None) is None:
        return

    def wait() -> None:
        while os.read(0, 1):  # the launcher writes nothing, and its end of the pipe ends with it
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _start(
    command: list[str], index: int, devices: int | None, said: set[str]
) -> tuple[subprocess.Popen[str], threading.Thread]:
    """A process of its own session, so that the terminal's Ctrl-C reaches the launcher alone."""
    env = os.environ | {_LAUNCHED: "1"}
    if devices is not None:
        env["JAX_NUM_CPU_DEVICES"] = str(devices)
    process = subprocess.Popen(
        # -P: what lies in the current folder isn't imported
        [sys.executable, "-P", "-u", "-m", __package__ or "subspace_cli", *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    relay = threading.Thread(target=_relay, args=(process, index, said))
    relay.start()
    return process, relay


def _relay(process: subprocess.Popen[str], index: int, said: set[str]) -> None:
    """Passes on what a process says; what is wrong for all of them only once."""
    assert process.stdout is not None
    for line in process.stdout:
        if _CHATTER.match(line):
            continue
        if line.startswith("Error: "):
            if line in said:
                continue
            said.add(line)
        sys.stdout.write(f"[{index}] {shown(line)}")
        sys.stdout.flush()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that have come, of those that ask to end."""
    asked: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, frame: asked.append(number))
        for number in STOPS
        if not ignored(number)
    }
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch(group: list[subprocess.Popen[str]], asked: list[int]) -> int:
    """Waits for all processes, and ends all when one fails or a signal comes; the exit code."""
    while True:
        codes = [process.poll() for process in group]
        failed = {i: code for i, code in enumerate(codes) if code}
        if asked or failed_output() is not None:
            _end(group, _GRACE, asked)
            return 128 + asked[0] if asked else FAILED
        if failed:
            first = min(failed, key=failed.__getitem__)  # who was killed made the others fail
            code = failed[first]
            if code != BAD_INPUT:  # which the process has explained
                tell(f"Error: process {first} {_how(code)}; all end")
            _end(group, 2.0, asked)
            return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(0.1)


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"


def _end(group: list[subprocess.Popen[str]], grace: float, asked: list[int]) -> None:
    """Asks all to stop, and after a while, or at a second signal, makes them."""
    for process in group:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    until = time.monotonic() + grace
    while any(process.poll() is None for process in group):
        if time.monotonic() > until or len(asked) > 1:
            for process in group:
                process.kill()
        time.sleep(0.05)
