"""The processes of a run meet before JAX is told of them, where each can still say what is wrong.

JAX's own service ends the process, with a stack of C++, where an address is taken, nobody answers
or somebody is missing.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from typing import Any

from subspace.errors import InvalidInput

_HELLO = "subspace"
_LONGEST = 1000  # bytes of a message
_PATIENCE = 2.0  # seconds for one that has connected to say who it is
_AGAIN = 0.2  # seconds between attempts to connect


def address(coordinator: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; ``[::1]:80`` for IPv6.

    Raises:
        InvalidInput: it is none, or the host isn't known.
    """
    host, colon, port = coordinator.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise InvalidInput("coordinator", f"{coordinator!r} is no HOST:PORT, such as 10.0.0.1:1234")
    try:
        socket.getaddrinfo(host, int(port))
    except (OSError, UnicodeError):
        raise InvalidInput("coordinator", f"there is no host {host!r}; check its name") from None
    return host, int(port)


def meet(coordinator: str, processes: int, index: int, timeout: int | float) -> None:
    """Returns in every process once all are there; the port is free again then.

    Args:
        coordinator: ``host:port`` of process 0, free there.
        processes: how many there are.
        index: of this one.
        timeout: seconds to wait for the others.

    Raises:
        InvalidInput: the address can't be used, or within the time nobody answers or some are
            missing; two have the same index, or they disagree on how many there are.
    """
    if not 0 < timeout < math.inf:
        raise InvalidInput("timeout", f"must be a positive number of seconds, got {timeout:g}")
    host, port = address(coordinator)
    until = time.monotonic() + timeout
    if index == 0:
        _receive(port, processes, timeout, until)
    else:
        _join(host, port, {_HELLO: 1, "index": index, "processes": processes}, timeout, until)


def _receive(port: int, processes: int, timeout: int | float, until: float) -> None:
    """Process 0: waits for all others, and tells them that all are there, or what is wrong."""
    there: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(_listening(port))
        while len(there) < processes - 1:
            door.settimeout(max(0.01, until - time.monotonic()))
            try:
                guest = stack.enter_context(door.accept()[0])
            except TimeoutError:
                missing = [i for i in range(1, processes) if i not in there]
                which = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
                what = f"of {processes} processes {which} didn't come within {timeout:g} s"
                for one in there.values():
                    _tell(one, what)
                raise InvalidInput("coordinator", f"{what}; start all, or wait --timeout") from None
            said = _heard(guest)
            if said.get(_HELLO) != 1:
                guest.close()  # somebody else's, such as a scan of ports
            elif said["processes"] != processes:
                _tell(guest, f"process 0 has {processes} processes, this one {said['processes']}")
            elif said["index"] in there or not 0 < said["index"] < processes:
                _tell(guest, f"there is a process {said['index']} already; give each its own")
            else:
                there[said["index"]] = guest
        for one in there.values():
            _tell(one, "")


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidInput(
            "coordinator", f"port {port} can't be used ({why}); choose another"
        ) from None


def _join(host: str, port: int, who: dict[str, int], timeout: int | float, until: float) -> None:
    """Another process: finds process 0, and hears whether all are there."""
    said, why = None, "it hung up"
    while said is None and (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as door:
                door.sendall(json.dumps(who).encode() + b"\n")
                door.settimeout(max(0.1, until + _PATIENCE - time.monotonic()))
                said = _heard(door) or None
        except OSError as error:
            why = error.strerror or str(error)
        if said is None:
            time.sleep(_AGAIN)
    if said is None:
        reason = f"no answer from {host}:{port} within {timeout:g} s ({why})"
        raise InvalidInput("coordinator", f"{reason}; start process 0 there, and let it be reached")
    if said.get("wrong"):
        raise InvalidInput("coordinator", str(said["wrong"])[:_LONGEST])


def _tell(other: socket.socket, wrong: str) -> None:
    with contextlib.suppress(OSError):
        other.sendall(json.dumps({_HELLO: 1, "wrong": wrong}).encode() + b"\n")


def _heard(other: socket.socket) -> dict[str, Any]:
    """One line of JSON; nothing if it is none of ours."""
    if other.gettimeout() is None:
        other.settimeout(_PATIENCE)
    held = b""
    try:
        while not held.endswith(b"\n") and len(held) < _LONGEST:
            part = other.recv(_LONGEST)
            if not part:
                return {}
            held += part
        record = json.loads(held)
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(record, dict) and record.get(_HELLO) == 1
    numbers = ("index", "processes")
    if ours and ("wrong" in record or all(type(record.get(name)) is int for name in numbers)):
        return record
    return {}
