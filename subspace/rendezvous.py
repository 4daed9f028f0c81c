"""The processes of a run meet before JAX is told of them, where each can still say what is wrong.

JAX's own service ends the process, with a stack of C++, where an address is taken, nobody answers
or somebody is missing.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import time
from typing import Any

from subspace.errors import InvalidInput

_HELLO = "subspace"
_LONGEST = 1000  # bytes of a message
_PATIENCE = 2.0  # seconds beyond its own time that a process waits to hear who is missing
_AGAIN = 0.2  # seconds between attempts to connect
_MOST_SECONDS = 1_000_000  # what sockets and JAX's service can count
_MOST_STRANGERS = 100  # connected at once without having said who they are


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


def check_timeout(timeout: int | float) -> None:
    """Raises InvalidInput unless processes can wait so long."""
    if not 0 < timeout <= _MOST_SECONDS:
        reason = f"must be above 0 and at most {_MOST_SECONDS:,} seconds, got {timeout:g}"
        raise InvalidInput("timeout", reason)


def meet(coordinator: str, processes: int, index: int, timeout: int | float) -> None:
    """Returns in every process once all are there; the port is free again then.

    Args:
        coordinator: ``host:port`` of process 0, free there.
        processes: how many there are.
        index: of this one.
        timeout: seconds to wait for the others, that ``check_timeout`` lets pass.

    Raises:
        InvalidInput: the address can't be used, or within the time nobody answers or some are
            missing; two have the same index, or they disagree on how many there are.
    """
    host, port = address(coordinator)
    until = time.monotonic() + timeout
    if index == 0:
        with _listening(port) as door, _Guests(door, processes) as guests:
            guests.wait(timeout, until)
    else:
        _join(host, port, {_HELLO: 1, "index": index, "processes": processes}, timeout, until)


def _listening(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024)
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidInput(
            "coordinator", f"port {port} can't be used ({why}); choose another"
        ) from None


class _Guests:
    """Whom process 0 hears: the others, and whoever else finds the port.

    All are listened to at once, so that no stranger keeps the others, or the time, waiting.
    """

    def __init__(self, door: socket.socket, processes: int):
        self.door, self.processes = door, processes
        self.there: dict[int, socket.socket] = {}
        self.strangers: dict[socket.socket, bytes] = {}  # and what each has said so far
        self.selector = selectors.DefaultSelector()
        door.setblocking(False)
        self.selector.register(door, selectors.EVENT_READ)

    def __enter__(self) -> _Guests:
        return self

    def __exit__(self, *_: object) -> None:
        for guest in [*self.strangers, *self.there.values()]:
            guest.close()
        self.selector.close()

    def wait(self, timeout: int | float, until: float) -> None:
        """Until all others are there, and told so; or tells them who is missing."""
        while True:
            complete = len(self.there) == self.processes - 1
            left = max(0.0, until - time.monotonic())
            ready = self.selector.select(0 if complete else left)
            if complete and not (ready and left):  # nobody has left in the meantime
                break
            if not complete and not left:
                raise InvalidInput("coordinator", self._missing(timeout))
            for key, _ in ready:
                if key.fileobj is self.door:
                    self._let_in()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
        for guest in self.there.values():
            _tell(guest, "")

    def _missing(self, timeout: int | float) -> str:
        missing = [i for i in range(1, self.processes) if i not in self.there]
        which = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        what = f"of {self.processes} processes {which} didn't come within {timeout:g} s"
        for guest in self.there.values():
            _tell(guest, what)
        return f"{what}; start all, or wait --timeout"

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):  # it has gone again
            guest = self.door.accept()[0]
            guest.setblocking(False)
            self.strangers[guest] = b""
            self.selector.register(guest, selectors.EVENT_READ)
        if len(self.strangers) > _MOST_STRANGERS + self.processes:
            self._send_away(next(iter(self.strangers)))

    def _hear(self, guest: socket.socket) -> None:
        try:
            part = guest.recv(_LONGEST)
        except OSError:
            part = b""
        if not part or guest not in self.strangers:  # who is there has nothing more to say
            self._send_away(guest)
            return
        self.strangers[guest] += part
        held = self.strangers[guest]
        if held.endswith(b"\n") or len(held) >= _LONGEST:
            wrong = self._admit(guest, _record(held))
            if wrong is not None:
                _tell(guest, wrong)
                self._send_away(guest)

    def _admit(self, guest: socket.socket, said: dict[str, Any]) -> str | None:
        """Takes a guest as the process that it says it is, or returns why not."""
        index, processes = said.get("index"), said.get("processes")
        if type(index) is not int or type(processes) is not int:
            return "this is where processes of subspace meet"
        if processes != self.processes:
            return f"process 0 has {self.processes} processes, this one {processes}"
        if index in self.there or not 0 < index < processes:
            return f"there is a process {index} already; give each its own"
        del self.strangers[guest]
        self.there[index] = guest
        return None

    def _send_away(self, guest: socket.socket) -> None:
        self.selector.unregister(guest)
        self.strangers.pop(guest, None)
        self.there = {index: one for index, one in self.there.items() if one is not guest}
        guest.close()


def _join(host: str, port: int, who: dict[str, int], timeout: int | float, until: float) -> None:
    """Another process: finds process 0, and hears whether all are there."""
    said, why = None, "it hung up"
    while said is None and (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as door:
                door.sendall(json.dumps(who).encode() + b"\n")
                said = _answer(door, until + _PATIENCE)
        except OSError as error:
            why = error.strerror or str(error)
        if said is None:
            time.sleep(_AGAIN)
    if said is None:
        reason = f"no answer from {host}:{port} within {timeout:g} s ({why})"
        raise InvalidInput("coordinator", f"{reason}; start process 0 there, and let it be reached")
    if said:
        raise InvalidInput("coordinator", said)


def _answer(door: socket.socket, until: float) -> str | None:
    """What process 0 finds wrong, empty if all are there; None if it isn't process 0."""
    held = b""
    while not held.endswith(b"\n") and len(held) < _LONGEST:
        door.settimeout(max(0.01, until - time.monotonic()))
        part = door.recv(_LONGEST)
        if not part:
            return None
        held += part
    wrong = _record(held).get("wrong")
    return wrong[:_LONGEST] if isinstance(wrong, str) else None


def _tell(other: socket.socket, wrong: str) -> None:
    with contextlib.suppress(OSError):
        other.sendall(json.dumps({_HELLO: 1, "wrong": wrong}).encode() + b"\n")


def _record(held: bytes) -> dict[str, Any]:
    """The message of a line; empty if it is none of ours."""
    try:
        record = json.loads(held)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and record.get(_HELLO) == 1 else {}
