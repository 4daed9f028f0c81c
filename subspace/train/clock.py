"""How fast training itself goes."""

from __future__ import annotations

import time


class Clock:
    """Seconds and examples of training proper: no compilation, evaluation, or checkpoints."""

    def __init__(self):
        self.seconds, self.examples = 0.0, 0
        self._since: float | None = None

    def start(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
        self._since = None

    def count(self, examples: int) -> None:
        if self._since is not None:
            self.examples += examples

    @property
    def rate(self) -> float:
        running = time.perf_counter() - self._since if self._since is not None else 0.0
        seconds = self.seconds + running
        return self.examples / seconds if self.examples else 0.0
