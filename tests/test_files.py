"""The rule for files: what is read is regular, bounded, as it was written; writes are whole."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from subspace import files
from subspace.errors import InvalidInput
from subspace.store.lock import Lock

RECORD = {"name": "a", "numbers": [1, 2.5, None], "inner": {"b": True}}


def refused(words: str, call, *args, **more) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        call(*args, **more)
    assert caught.value.field == "run"
    assert "\n" not in caught.value.reason


def test_a_record_comes_back(tmp_path: Path):
    file = tmp_path / "a.json"
    files.write_record(file, RECORD)
    assert files.read_record(file, "run") == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"1e999"],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.json").write_bytes(content)
    refused("a.json is damaged", files.read_record, tmp_path / "a.json", "run")


def test_every_change_of_a_byte_of_a_record_is_refused_or_means_the_same(tmp_path: Path):
    file = tmp_path / "a.json"
    files.write_record(file, RECORD)
    whole = file.read_bytes()
    for place in range(len(whole)):
        for flip in (1, 4, 32):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with contextlib.suppress(InvalidInput):
                assert files.read_record(file, "run") == RECORD


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "below a file"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str):
    file = tmp_path / "a.json"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)  # which would be waited for
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "below a file":
        file.write_text("x")
        file = file / "b"
    said = "there is no file" if kind in ("missing", "below a file") else "no regular file"
    refused(said, files.read, file, "run")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path):
    file = tmp_path / "a"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)  # of which the disk holds nothing
    refused("more than the", files.read, file, "run")


def test_lines_that_are_damaged_are_told_by_their_number(tmp_path: Path):
    file = tmp_path / "a.jsonl"
    assert files.read_lines(file, "run") == ([], [])
    lines = [files.line({"epoch": i}) for i in (1, 2, 3)]
    file.write_text(lines[0] + lines[1].replace("2", "9") + "[[[\n" + lines[2] + '{"epo')
    assert files.read_lines(file, "run") == ([{"epoch": 1}, {"epoch": 3}], [2, 3])


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch):
    file = tmp_path / "a"
    files.replace(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.replace(file, b"new")
    assert caught.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_temporary_name_can_be_foreseen_and_no_link_is_followed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "known")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".known.tmp").symlink_to(victim)
    with pytest.raises(OSError, match="exists"):
        files.replace(tmp_path / "a", b"new")
    assert victim.read_text() == "precious"


def test_of_many_that_want_a_folder_one_has_it(tmp_path: Path):
    won, told = [], []
    start = threading.Barrier(8)

    def take() -> None:
        lock = Lock(tmp_path)
        start.wait()
        try:
            lock.acquire("out")
            won.append(lock)
        except InvalidInput as error:
            told.append(error.reason)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(told)) == (1, 7)
    assert all("is in use by " in text for text in told)
    with pytest.raises(InvalidInput, match=f"process {os.getpid()} on "):
        Lock(tmp_path).acquire("out")
    won[0].release()
    again = Lock(tmp_path)
    again.acquire("out")
    again.release()
