"""A folder that one process at a time writes; it is free again however that process ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from subspace import files
from subspace.errors import InvalidInput


class Lock:
    """A lock on a folder, which the system lets go of when its process is gone.

    Examples:
        >>> lock = Lock(Path("runs/a"))
        >>> lock.acquire("out")
        >>> lock.release()
    """

    def __init__(self, folder: Path):
        from filelock import FileLock

        self._folder, self._owner = folder, folder / ".owner"
        self._lock = FileLock(folder / ".lock", thread_local=False)

    def acquire(self, field: str) -> None:
        """Takes it at once.

        Raises:
            InvalidInput: of ``field``: another process has it, or the folder can't be written.
        """
        from filelock import Timeout

        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InvalidInput(
                field, f"{self._folder} is in use by {self._holder()}; wait for it, or end it"
            ) from None
        except (OSError, NotImplementedError) as error:
            why = files.reason(error)
            raise InvalidInput(field, f"can't write to {self._folder}: {why}") from None
        try:
            files.replace(self._owner, f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:
            self._lock.release()
            raise InvalidInput(field, f"can't write to {self._folder}: {error.strerror}") from None

    def release(self) -> None:
        """Lets go of it; nothing happens without it."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        try:
            return files.read(self._owner, "out", most=300).decode(errors="replace")
        except InvalidInput:  # just before it is written, or just after it is gone
            return "another process"
