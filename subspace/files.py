"""One rule for files: what is read is a regular file of a bounded size, what is written is whole.

A record of ours carries a digest of itself: one that was cut short, edited or damaged isn't taken
for what was written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from subspace.errors import InvalidInput

MOST = 1 << 28
"""Bytes of a file that is read at once, unless said otherwise; records are far smaller."""

_DIGEST, _CHECK = "digest", "check"


def size_of(file: Path, field: str) -> int:
    """The bytes of a regular file; a link to one is as good.

    Raises:
        InvalidInput: of ``field``: there is none, or it is a folder, a device, a pipe.
    """
    try:
        about = os.stat(file)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InvalidInput(field, f"there is no file {file}") from None
        raise InvalidInput(field, f"can't read {file}: {reason(error)}") from None
    if not stat.S_ISREG(about.st_mode):
        raise InvalidInput(field, f"{file} is no regular file")
    return about.st_size


def read(file: Path, field: str, most: int = MOST) -> bytes:
    """All of a file.

    Raises:
        InvalidInput: of ``field``: as `size_of`, or it is too large or can't be read.
    """
    size = size_of(file, field)
    if size > most:
        raise InvalidInput(field, f"{file} has {size:,} bytes, more than the {most:,} it may have")
    try:
        with file.open("rb") as opened:
            return opened.read(size)
    except OSError as error:
        raise InvalidInput(field, f"can't read {file}: {reason(error)}") from None


def parsed(text: str | bytes, file: Path, field: str) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        InvalidInput: of ``field``: it is none, or nested too deep.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InvalidInput(field, f"{file} is damaged")
    return record


def read_record(file: Path, field: str) -> dict[str, Any]:
    """What `write_record` wrote.

    Raises:
        InvalidInput: of ``field``: as `read`, or it isn't what was written.
    """
    record = parsed(read(file, field), file, field)
    if record.pop(_DIGEST, None) != digest(record):
        raise InvalidInput(
            field, f"{file} is damaged: it was changed, or is of another version of subspace"
        )
    return record


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """Replaces a file by a JSON object that carries its digest."""
    replace(file, (json.dumps({**record, _DIGEST: digest(record)}, indent=2) + "\n").encode())


def line(record: Mapping[str, Any]) -> str:
    """A JSON object in one line, with a check of itself."""
    return json.dumps({**record, _CHECK: digest(record)[:8]}) + "\n"


def read_lines(file: Path, field: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The records of a file of such lines, and the numbers, from 1, of lines that are damaged.

    A last line that was cut short, by a crash, is in neither. No file is an empty one.

    Raises:
        InvalidInput: of ``field``: it is no regular file, too large, or can't be read.
    """
    if not os.path.lexists(file):
        return [], []
    *lines, _ = read(file, field).split(b"\n")
    records, damaged = [], []
    for number, text in enumerate(lines, start=1):
        try:
            record = parsed(text, file, field)
        except InvalidInput:
            record = {}
        if record.pop(_CHECK, None) == digest(record)[:8]:
            records.append(record)
        else:
            damaged.append(number)
    return records, damaged


def digest(record: Any) -> str:
    """16 hexadecimal digits of what JSON keeps of a record."""
    try:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def replace(file: Path, content: bytes | Iterable[bytes]) -> None:
    """Replaces a file as a whole, or leaves all as it was; of several parts one after the other.

    Raises:
        OSError: with the file's name.
    """
    temporary = file.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # neither another process nor a link can stand where nobody knows the name
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as opened:
            opened.writelines([content] if isinstance(content, bytes) else content)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno or errno.EIO, reason(error), str(file)) from None


def append(file: Path, content: bytes, sync: bool = True) -> None:
    """Adds to a file; with ``sync`` on disk on return, else when the system gets to it.

    Raises:
        OSError: with the file's name.
    """
    try:
        with file.open("ab") as opened:
            opened.write(content)
            opened.flush()
            if sync:
                os.fsync(opened.fileno())
    except OSError as error:
        raise OSError(error.errno or errno.EIO, reason(error), str(file)) from None


def check_new(file: Path, suffix: str) -> None:
    """Raises InvalidInput, of ``out``, unless such a file can be made there."""
    if file.suffix != suffix:
        raise InvalidInput("out", f"{file} must end in {suffix}")
    if os.path.lexists(file):
        raise InvalidInput("out", f"{file} is there already; choose another name")
    if not file.parent.is_dir():
        raise InvalidInput("out", f"there is no folder {file.parent}; make it first")


def reason(error: Exception) -> str:
    """Why, without the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def odd(names: Iterable[str]) -> list[str]:
    """Those of names that aren't what systems leave in every folder."""
    return [name for name in names if not name.startswith(".") and name not in _LITTER]


_LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX")
