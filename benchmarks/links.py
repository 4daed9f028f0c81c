"""A slow network on one machine: namespaces joined by a switch that delays and paces frames."""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

_TUNSETIFF, _TAP_WITHOUT_HEADER = 0x400454CA, 0x0002 | 0x1000
_FRAME = 2048  # bytes; the network's own are up to 1,514


class Link(NamedTuple):
    """What lies between a computer and all others: megabits a second each way, seconds one way."""

    mbit: float
    delay: float = 0.0

    def __str__(self) -> str:
        delay = f", {1000 * self.delay:g} ms" if self.delay else ""
        return f"{self.mbit:g} Mbit/s{delay}"


class Unavailable(Exception):
    """Namespaces or network devices can't be made here."""


class Network:
    """Computers of a network of their own, for the time of a ``with``; needs root on Linux.

    Each sends through a token bucket of the kernel's, `tc`'s tbf; a switch in this process paces
    what each receives, and delays it. Nothing leaves the machine.
    """

    def __init__(self, count: int, link: Link):
        self.count, self.link = count, link
        self._taps: list[int] = []
        self._ends = threading.Event()

    def address(self, index: int) -> str:
        return f"10.98.0.{index + 1}"

    def inside(self, index: int) -> list[str]:
        """What to put in front of a command that is to run on a computer."""
        return ["ip", "netns", "exec", _name(index)]

    def bytes_of(self, index: int) -> tuple[int, int]:
        """How many a computer has sent and received so far, headers and all."""
        statistics = f"/sys/class/net/{_name(index)}/statistics"
        found = subprocess.run(
            [*self.inside(index), "cat", f"{statistics}/tx_bytes", f"{statistics}/rx_bytes"],
            capture_output=True,
            text=True,
            check=True,
        )
        sent, received = found.stdout.split()
        return int(sent), int(received)

    def __enter__(self) -> Network:
        try:
            for index in range(self.count):
                self._add(index)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise Unavailable(f"no slow link can be made here: {error}") from None
        threading.Thread(target=self._switch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for index in range(self.count):
            subprocess.run(["ip", "netns", "del", _name(index)], capture_output=True)
            shutil.rmtree(f"/etc/netns/{_name(index)}", ignore_errors=True)
        for tap in self._taps:
            os.close(tap)
        self._taps.clear()

    def _add(self, index: int) -> None:
        name, address = _name(index), self.address(index)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)  # of one that was killed
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        self._taps.append(tap)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP_WITHOUT_HEADER))
        hosts = Path("/etc/netns", name, "hosts")
        hosts.parent.mkdir(parents=True, exist_ok=True)  # Gloo binds to what the host is called
        hosts.write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
        bucket = f"rate {self.link.mbit}mbit burst 32kbit latency 400ms"
        for command in (
            f"ip netns add {name}",
            f"ip link set {name} netns {name}",
            f"ip -n {name} addr add {address}/24 dev {name}",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set {name} up",
            f"ip netns exec {name} tc qdisc add dev {name} root tbf {bucket}",
        ):
            subprocess.run(command.split(), capture_output=True, check=True)

    def _switch(self) -> None:
        """Frames from one computer to another, or to all, each at its time."""
        ready = selectors.DefaultSelector()
        for index, tap in enumerate(self._taps):
            ready.register(tap, selectors.EVENT_READ, index)
        places: dict[bytes, int] = {}
        free = [0.0] * self.count  # when the way into each computer is
        waiting: list[tuple[float, int, int, bytes]] = []
        number = 0
        while not self._ends.is_set():
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, to, frame = heapq.heappop(waiting)
                _write(self._taps[to], frame)
            pause = min(0.1, waiting[0][0] - now) if waiting else 0.1
            for key, _ in ready.select(pause):
                for frame in _frames(self._taps[key.data]):
                    places[frame[6:12]] = key.data
                    known = places.get(frame[:6])
                    others = (i for i in range(self.count) if i != key.data)
                    for to in others if known is None else (known,):
                        begins = max(time.monotonic() + self.link.delay, free[to])
                        free[to] = begins + 8 * len(frame) / (1e6 * self.link.mbit)
                        number += 1
                        heapq.heappush(waiting, (free[to], number, to, frame))


def _name(index: int) -> str:
    return f"slowlink{index}"


def _frames(tap: int) -> list[bytes]:
    """Those that wait to be read."""
    found = []
    while len(found) < 64:
        try:
            found.append(os.read(tap, _FRAME))
        except OSError:
            break
    return found


def _write(tap: int, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # its computer is gone, or full: frames are lost on networks
        os.write(tap, frame)
