"""The training loop: phases, epochs, steps, checkpoints, stopping."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from subspace import distributed
from subspace.data.stream import Feed
from subspace.optim.averaging import average
from subspace.store import weights_file
from subspace.store.checkpoint import Checkpoints
from subspace.store.folder import RunFolder
from subspace.store.weights import Weights
from subspace.train.callbacks import Callback, Diverged, Progress, Stopped
from subspace.train.clock import Clock
from subspace.train.epochs import Epochs
from subspace.train.evaluate import mean_metrics, seen_here
from subspace.train.flat import is_flat, stalls, steps_between_looks
from subspace.train.mesh import for_workers
from subspace.train.recorders import Recorder, Step, recorders_of, sample_file
from subspace.train.remarks import remarks
from subspace.train.running import RunningPhase
from subspace.train.step import TrainState
from subspace.train.trainer import Trainer

_LOG_SECONDS = 0.5  # between readings of the loss, each of which waits for the device


class Loop:
    """A run in progress.

    Args:
        trainer: the pieces of the run.
        folder: where records and samples go; it holds the configuration already.
        checkpoints: where checkpoints go; None for none.
        callback: is told how the run goes.

    Attributes:
        records: of the epochs of this process.
        done: steps, counted through the phases: ``state.step``, without asking the device.
        looks: held-out losses within the phase, of one that ends once they are flat.
        held_out: those after each epoch of the phase; ``best`` the least of the run.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        checkpoints: Checkpoints | None,
        callback: Callback,
    ):
        self.trainer, self.folder, self.callback = trainer, folder, callback
        self.checkpoints = checkpoints
        self.records: list[dict[str, Any]] = []
        self.done = 0
        self.looks: list[float] = []
        self.held_out: list[float] = []
        self.best = math.inf
        self.saved: int | None = None
        self.running: RunningPhase
        self.state: TrainState
        self.recorders: list[Recorder] = []
        self.clock = Clock()
        self._began = time.perf_counter()
        self._feed = Feed(*trainer.dataset.train, trainer.placed)
        self._epochs = Epochs(trainer, folder)

    @property
    def _workers(self) -> int:
        """Those of the phase."""
        return self.trainer.workers(self.running.phase)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def enter(self, index: int) -> None:
        """Begins a phase, from where the one before it ended unless it starts elsewhere."""
        self._prepare(index)
        weights = self.trainer.weights
        if index:
            weights = Weights(self.state.params, self.state.model_state)
        weights = self.running.start or weights
        state = self.trainer.first_state(self.running, weights, self._workers)
        self.state = self.trainer.placed(state)
        self.done = self.running.place.first_step  # the one before may have ended sooner
        self.looks, self.held_out = [], []
        for recorder in self.recorders:
            recorder.begin(self.state)

    def restore(self) -> None:
        """Goes on from the newest whole checkpoint.

        Raises:
            InvalidInput: there is none.
        """
        assert self.checkpoints is not None
        state, meta, damaged = self.checkpoints.restore(self._template)
        self.state = self.trainer.placed(for_workers(state, self._workers))
        self.done = self.saved = int(meta["step"])
        self.looks = meta["looks"]
        self._recall(meta["phase"])
        self._began -= meta["seconds"]
        self.clock.seconds, self.clock.examples = meta["train_seconds"], meta["train_examples"]
        for recorder in self.recorders:
            recorder.go_on(self.done)
        if damaged:
            distributed.wait_for_all("all know which checkpoints are damaged")
            self.checkpoints.drop(damaged)
            which = ", ".join(map(str, damaged))
            self.callback.on_warning(f"damaged checkpoints passed over: step {which}")

    def _recall(self, phase: int) -> None:
        """The held-out losses of epochs before this process."""
        known = [one for one in self.folder.records() if one["step"] <= self.done]
        losses = [(one["phase"] - 1, one.get("validation_loss", math.nan)) for one in known]
        self.held_out = [loss for index, loss in losses if index == phase]
        self.best = min((loss for _, loss in losses if loss == loss), default=math.inf)

    def _template(self, meta: dict[str, Any]) -> TrainState:
        self._prepare(meta["phase"])
        return self.trainer.first_state(self.running, self.trainer.weights, meta["workers"])

    def _prepare(self, index: int) -> None:
        """All of a phase but its state."""
        config, rows = self.trainer.config, None
        sampling = config.sampled_by(index)
        if config.phases[index].on_trajectory and sampling is not None:
            distributed.wait_for_all("the trajectory is written")
            place = self.trainer.phases[sampling]
            samples = sample_file(self.trainer, place, self.folder)
            samples.cut(place.end_step)  # or they are cut short
            rows = samples.rows()
        self.running = self.trainer.running(index, rows)
        self.recorders = recorders_of(self.trainer, self.running, self.folder)
        self.clock = Clock()
        self._compiled: set[bool | None] = set()

    def run(self) -> dict[str, Any]:
        """Trains to the last epoch of the last phase.

        Returns:
            The last epoch's record, the metrics on the test split, and ``dimensions``, d.

        Raises:
            Stopped: the callback asked for it.
            Diverged: the loss became NaN or infinite.
        """
        self.callback.on_start(self.trainer, self.done)
        for index in range(self.running.place.index, len(self.trainer.phases)):
            if index != self.running.place.index:
                self.enter(index)
            self.callback.on_phase(self.running)
            self._phase()
        self._wait()
        return self.results()

    def results(self) -> dict[str, Any]:
        """What the run has come to so far."""
        dimensions = self.running.dimensions(self.state.params)
        figures = self._epochs.figures(self.state, "test") | {"dimensions": dimensions}
        distributed.wait_for_all("the last record is written")
        last = (self.folder.records() or self.records or [{"step": self.done}])[-1]
        return last | figures | {"seconds": self.seconds}

    def _phase(self) -> None:
        """Trains from wherever the phase stands to its end."""
        place, config = self.running.place, self.trainer.config
        begun = (self.done - place.first_step) // place.steps
        for epoch in range(place.first_epoch + begun, place.end_epoch):
            if is_flat(self.looks) or self._stalls():  # and did when it was stopped
                break
            self._epoch(epoch)
            last = epoch + 1 == place.end_epoch or is_flat(self.looks)
            done = self._complete() if last else {}
            record = self._record(epoch, last) | done
            self.held_out.append(record.get("validation_loss", math.nan))
            if not last and self._stalls():
                last, record = True, record | self._early(epoch)
            if last:
                self._warn(record)
            if self.trainer.config.keep_best:
                record |= self._kept_if_best(record)
            self.state = self.state._replace(meters=self.trainer.no_meters(self.running.phase))
            self.records.append(record)
            self.folder.append(record)
            self.callback.on_epoch(record)
            if last or (epoch + 1) % config.checkpoint_every == 0:
                self._save()

    def _stalls(self) -> bool:
        """Whether the held-out loss has not become better for as many epochs as the phase bears."""
        return stalls(self.held_out, self.running.phase.schedule.early_stop)

    def _early(self, epoch: int) -> dict[str, Any]:
        """What the record of a phase that ends here says beside."""
        more = self.running.place.index + 1 < len(self.trainer.phases)
        figures = self._epochs.figures(self.state, "test") if more else {}
        return {"ended": "early"} | figures

    def _kept_if_best(self, record: dict[str, Any]) -> dict[str, Any]:
        """Keeps the weights if none of the run has had a better held-out loss."""
        if record["validation_loss"] >= self.best:
            return {}
        self.best = record["validation_loss"]
        if self.folder.writes:
            weights = Weights(self.state.params, self.state.model_state)
            file, model = self.folder.best_file, self.trainer.config.model
            weights_file.write_whole(file, weights, model, over=True)
        return {"best": True}

    def _warn(self, record: dict[str, Any]) -> None:
        """Tells what is odd at a phase's end, of which nothing else would speak."""
        before = [one for one in self.folder.records() if one["phase"] < record["phase"]]
        for remark in remarks(record, before[-1] if before else None):
            self.callback.on_warning(remark)

    def _complete(self) -> dict[str, Any]:
        """Ends a phase at its average, and with statistics of its weights; what was done of it."""
        done: dict[str, Any] = {"ended": "flat"} if is_flat(self.looks) else {}
        mean = average(self.state.opt_state)
        if mean is not None:
            self.state = self.state._replace(params=jax.tree.map(jnp.copy, mean))
            done["averaged"] = self.running.phase.values["average"]
        if self._lags:
            state = self.trainer.placed(self.trainer.recalibrated(self.state))
            self.state = self.state._replace(model_state=state)
            done["recalibrated"] = True
        return done

    @property
    def _lags(self) -> bool:
        """Whether batch norm's running statistics won't be those of the phase's last weights."""
        asked = self.trainer.config.recalibrate_bn
        has_any = bool(jax.tree.leaves(self.state.model_state))
        return has_any and self.running.place.recalibrates(asked)

    def _epoch(self, epoch: int) -> None:
        """Trains from wherever the epoch stands to its end."""
        place = self.running.place
        self._feed.begin(self.trainer.order(place, epoch), place.phase.batch_size)
        logged = time.perf_counter()
        if self._compiled:
            self.clock.start()
        end = place.first_step + (epoch + 1 - place.first_epoch) * place.steps
        while self.done < end and not is_flat(self.looks):
            if self.callback.should_stop() or distributed.all_stop_at(self.done):
                self._interrupt()
            self._step()
            self._look()
            if time.perf_counter() - logged > _LOG_SECONDS:
                self._tell(epoch, place.steps - (end - self.done))
                logged = time.perf_counter()
        jax.block_until_ready(self.state)
        self.clock.stop()

    def _step(self) -> None:
        place = self.running.place
        inputs = self._feed.at((self.done - place.first_step) % place.steps)
        due = self.running.due(self.done)
        if due not in self._compiled:
            jax.block_until_ready(self.state)
            self.clock.stop()
        step = Step(self.done, self.running, inputs)
        for recorder in self.recorders:
            recorder.before(step, self.state)
        self.state = self.running.train_step(self.state, *inputs, due=due)
        self.done += 1
        self.clock.count(place.phase.batch_size)
        if due not in self._compiled:
            jax.block_until_ready(self.state)
            self._compiled.add(due)
            self.clock.start()
        for recorder in self.recorders:
            recorder.after(step, self.state)

    def _look(self) -> None:
        """At the held-out loss, in a phase that ends once it is flat."""
        place, held_out = self.running.place, self.trainer.dataset.validation
        if not place.phase.schedule.until_flat:
            return
        every = steps_between_looks(len(held_out.targets), place.phase.batch_size)
        if (self.done - place.first_step) % every:
            return
        jax.block_until_ready(self.state)
        self.clock.stop()
        measured = bool(jax.tree.leaves(self.state.model_state)) and place.phase.on_trajectory
        self.looks.append(self.trainer.held_out_loss(self.state, measured))
        self._check(self.looks[-1])
        self.clock.start()

    def _tell(self, epoch: int, step: int) -> None:
        figures = mean_metrics(self.trainer.task, [seen_here(self.state.meters)])
        # of several processes the others look at other times, and would wait for this one
        if not distributed.is_one_of_several():
            self._check(figures["loss"])
        steps, rate = self.running.place.steps, self.clock.rate
        self.callback.on_progress(Progress(epoch, step, steps, figures, rate))

    def _record(self, epoch: int, last: bool) -> dict[str, Any]:
        record = self._epochs.of(self.running, self.state, self.done, epoch, last)
        self._check(record["train_loss"])
        self._check(record.get("validation_loss", 0.0))
        return record | {"seconds": self.seconds, "examples_per_second": self.clock.rate}

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._wait()
            raise Diverged(self.done, self.saved, self.running.place.index)

    def _save(self) -> None:
        self._check(0.0 if bool(_all_finite(self.state.params)) else math.nan)
        for recorder in self.recorders:
            recorder.flush()
        if self.checkpoints is None:
            return
        meta = {
            "step": self.done,
            "phase": self.running.place.index,
            "workers": self._workers,
            "seconds": self.seconds,
            "train_seconds": self.clock.seconds,
            "train_examples": self.clock.examples,
            "looks": self.looks,
        }
        self.checkpoints.save(self.done, self.state, meta)
        self.saved = self.done

    def _interrupt(self) -> None:
        self.clock.stop()
        self._save()
        self._wait()
        raise Stopped

    def _wait(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.wait()

    def close(self) -> None:
        """Lets go of readers and checkpoints."""
        self._feed.close()
        if self.checkpoints is not None:
            self.checkpoints.close()


@jax.jit
def _all_finite(params: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
