"""Processes of a run that meet, or say in one line why they can't."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from subspace.distributed import join
from subspace.errors import InvalidInput
from subspace.rendezvous import address, meet


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def together(*calls: Callable[[], Any]) -> list[str]:
    """What each of some calls at once came to: "" or the reason of its refusal."""
    said = [""] * len(calls)

    def call(i: int) -> None:
        try:
            calls[i]()
        except InvalidInput as error:
            said[i] = f"{error.field}: {error.reason}"

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return said


def member(port: int, index: int, processes: int, timeout: float = 10) -> Callable[[], None]:
    return lambda: meet(f"127.0.0.1:{port}", processes, index, timeout)


def test_all_meet_and_the_port_is_free_again():
    port = free_port()
    assert together(*(member(port, i, 4) for i in range(4))) == [""] * 4
    assert together(*(member(port, i, 2) for i in range(2))) == ["", ""]
    assert together(member(port, 0, 1)) == [""]


def test_those_who_are_missing_are_named_everywhere():
    port = free_port()
    said = together(*(member(port, i, 4, 0.7) for i in (0, 2)))
    assert all("of 4 processes 1, 3 didn't come within 0.7 s" in text for text in said)


def test_nobody_answers():
    began = time.monotonic()
    (said,) = together(member(free_port(), 1, 2, 0.7))
    assert "no answer from 127.0.0.1:" in said
    assert time.monotonic() - began < 5


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as taken:
        (said,) = together(member(taken.getsockname()[1], 0, 2, 5))
    assert "can't be used (Address already in use" in said


def test_two_of_a_name_and_those_who_count_otherwise_are_told():
    port = free_port()
    late = [lambda: (time.sleep(0.5), member(port, 1, 3, 3)()), member(port, 1, 2, 3)]
    said = together(member(port, 0, 3, 1.5), member(port, 1, 3, 3), *late)
    assert "of 3 processes 2 didn't come" in said[0]
    assert "there is a process 1 already" in said[2]
    assert "process 0 has 3 processes, this one 2" in said[3]


STRANGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0" * 5000,
    b"[" * 900 + b"\n",
    b"",
    b'{"subspace": 1}\n',
    b'{"subspace": 1, "wrong": "you"}\n',
    b'{"subspace": 1, "index": 1}\n',
    b'{"subspace": 1, "index": true, "processes": 2}\n',
    b'{"subspace": 1, "index": 1.0, "processes": "2"}\n',
    b'{"subspace": 1, "index": -1, "processes": 2}\n',
    b'{"subspace": [1]}\n',
]


def test_strangers_are_hung_up_on():
    port = free_port()

    def stranger() -> None:
        time.sleep(0.3)
        for words in STRANGE:
            with socket.create_connection(("127.0.0.1", port)) as door:
                door.sendall(words)

    def late() -> None:
        time.sleep(1)
        member(port, 1, 2)()

    assert together(member(port, 0, 2), stranger, late) == ["", "", ""]


@pytest.mark.parametrize(
    "text", ["nohost", "host:", ":1234", "host:0", "host:65536", "host:x", "host:-1", "", "h:１"]
)
def test_what_is_no_address(text):
    with pytest.raises(InvalidInput, match="is no HOST:PORT"):
        address(text)


def test_a_host_that_is_not_known():
    with pytest.raises(InvalidInput, match="there is no host 'nowhere"):
        address("nowhere.invalid:1")


def test_strangers_cost_no_time():
    port = free_port()

    def strangers() -> None:
        time.sleep(0.2)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for _ in range(130):  # each says a little, and goes on holding the line
                one = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                one.sendall(b"{")
            time.sleep(2)

    began = time.monotonic()
    said = together(member(port, 0, 2, 1.5), strangers)
    assert "of 2 processes 1 didn't come within 1.5 s" in said[0]
    assert time.monotonic() - began < 6

    def late() -> None:
        time.sleep(0.8)
        member(port, 1, 2)()

    assert together(member(port, 0, 2), strangers, late) == ["", "", ""]


def test_who_leaves_again_is_missing_and_may_come_back():
    port = free_port()

    def leaves() -> None:
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", port)) as door:
            door.sendall(b'{"subspace": 1, "index": 1, "processes": 3}\n')

    def late(index: int) -> Callable[[], None]:
        return lambda: (time.sleep(0.6), member(port, index, 3, 1.2)())[1]

    said = together(member(port, 0, 3, 1.5), leaves, late(2))
    assert "of 3 processes 1 didn't come" in said[0]
    assert "of 3 processes 1 didn't come" in said[2]
    assert together(member(port, 0, 3), leaves, late(2), late(1)) == [""] * 4


def test_one_that_answers_and_never_says_a_line():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def dribbles() -> None:
            guest = other.accept()[0]
            with contextlib.suppress(OSError), guest:
                while True:
                    guest.sendall(b" ")
                    time.sleep(0.2)

        began = time.monotonic()
        said = together(member(other.getsockname()[1], 1, 2, 0.5), dribbles)
        assert "no answer from 127.0.0.1" in said[0]
        assert time.monotonic() - began < 8


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6_too():
    port = free_port()
    calls = [partial(meet, f"[::1]:{port}", 3, i, 10) for i in (0, 1)]
    assert together(*calls, member(port, 2, 3)) == ["", "", ""]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300, 1_000_001])
def test_a_time_that_can_not_be_waited(timeout):
    with pytest.raises(InvalidInput, match="timeout: must be above 0"):
        join("127.0.0.1:1", 2, 1, timeout)
    with pytest.raises(InvalidInput, match="timeout: must be above 0"):
        join(None, None, None, timeout)
