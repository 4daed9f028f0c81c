"""What ``subspace run`` shows while it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from jaxtyping import PyTree
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from subspace.config.run import RunConfig
from subspace.natural import capture
from subspace.run.summary import device
from subspace.store.folder import RunFolder
from subspace.train.callbacks import Callback, Progress
from subspace.train.running import RunningPhase
from subspace.train.trainer import Trainer

from .output import warn
from .show import clock, count, number, say


class Display:
    """One line when training starts and one an epoch, and on a terminal a bar below them."""

    def __init__(self, console: Console, config: RunConfig, folder: RunFolder):
        self._console, self._config, self._folder = console, config, folder
        self._running: RunningPhase | None = None
        self._bars: Bars | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            bars = self._bars = Bars(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=16),
                TextColumn("{task.description}"),
                console=console,
                transient=True,
                refresh_per_second=4,
            )
            self._task = bars.add_task("starting", total=None, epoch=_of(1, config.epochs))

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def callback(self, should_stop: Callable[[], bool]) -> Callback:
        """Shows what the loop tells."""
        return Callback(
            on_start=self._started,
            on_phase=self._entered,
            on_progress=self._moved,
            on_epoch=self._finished,
            on_warning=self._warned,
            should_stop=should_stop,
        )

    def _started(self, trainer: Trainer, step: int) -> None:
        self._trainer, self._done = trainer, step

    def _entered(self, running: RunningPhase) -> None:
        """A line on the phase, and before the first one on the run."""
        config, trainer, phase = self._config, self._trainer, running.phase
        words = []
        if self._running is None:
            words += [f"{config.model} on {config.data_name}", f"D = {count(trainer.parameters)}"]
        if "dim" in phase.values:
            words.append(f"d = {count(running.dimensions(trainer.weights.params))}")
        if phase.learning_rate is not None:
            words.append(f"lr {number(phase.learning_rate)}")
        if self._running is None:
            words += [device(), f"in {self._folder.path}"]
        say(self._console, f"{phase.method.name}: {', '.join(words)}")
        if phase.method.needs_rows:
            say(self._console, _captured(trainer.weights.params))
        total = trainer.phases[-1].end_step
        if self._running is None and self._done:
            say(self._console, f"continuing after step {count(self._done)} of {count(total)}")
        begun = self._done if self._running is None else running.place.first_step
        self._running = running
        if begun < running.place.end_step:
            epochs = (begun - running.place.first_step) // running.place.steps
            self._show(running.place.first_epoch + epochs, total=None, description="compiling")

    def _moved(self, now: Progress) -> None:
        figures, rate = self._figures(now.figures), now.examples_per_second
        if rate and self._running:
            phase, end = self._running.phase, self._running.place.end_epoch
            steps = (end - now.epoch) * now.steps - now.step
            left = clock(steps * phase.batch_size / rate)
            figures += f"  {count(rate)} examples/s  {left} left"
            if end < self._config.epochs:
                figures += f" of {phase.method.name}"
        self._show(now.epoch, total=now.steps, completed=now.step, description=figures)

    def _finished(self, record: dict[str, Any]) -> None:
        done, epochs = record["epoch"], self._config.epochs
        metric = self._trainer.task.metrics[0]
        figures = self._figures({name: record[f"train_{name}"] for name in ("loss", metric.name)})
        if f"validation_{metric.name}" in record:
            figures += f"  validation {metric.show(record[f'validation_{metric.name}']):>6}"
        rate = f"{count(record['examples_per_second'])} examples/s"
        if record.get("failed_searches"):
            rate += f"  {count(record['failed_searches'])} searches failed"
        if record.get("ended") == "flat":
            rate += f"  {record['method']} ends: the held-out loss is flat"
        if record.get("ended") == "early":
            rate += f"  {record['method']} ends: the held-out loss has not become better"
        say(self._console, f"epoch {_of(done, epochs)}  {figures}  {rate}")
        if done < epochs:
            self._show(done, completed=0, description="")
        elif self._bars:
            self._bars.update(self._task, visible=False)

    def _figures(self, figures: dict[str, float]) -> str:
        """The loss, and what runs of this task are compared by."""
        metric, text = self._trainer.task.metrics[0], f"loss {figures['loss']:.4f}"
        if metric.name == "loss":
            return text
        name = metric.name.replace("_", " ")
        return f"{text}  {name} {metric.show(figures[metric.name]):>6}"

    def _warned(self, text: str) -> None:
        if not self._console.quiet:
            warn(text)

    def _show(self, epoch: int, **changes: Any) -> None:
        if self._bars:
            place = _of(epoch + 1, self._config.epochs)
            self._bars.update(self._task, visible=True, epoch=place, **changes)


def _captured(params: PyTree) -> str:
    """Whose curvature is known."""
    number = len(capture.layers(params))
    text = f"curvature of {number} layer{'s' * (number > 1)}"
    passed = capture.others(params)
    if not passed:
        return text
    more = f" and {len(passed) - 3} more" if len(passed) > 3 else ""
    return f"{text}; {', '.join(passed[:3])}{more} keep their gradient"


def _of(epoch: int, epochs: int) -> str:
    return f"{epoch:>{len(str(epochs))}}/{epochs}"
