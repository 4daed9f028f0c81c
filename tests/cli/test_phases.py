"""Runs of several phases: --then, --from, samples, and resuming in the middle of each phase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import (
    Cli,
    assert_same_run,
    check,
    damage,
    edit_record,
    final_arrays,
    invoke,
    snapshot,
    timeless,
)
from normed import normed  # noqa: F401

from subspace import run
from subspace.config.run import RunConfig
from subspace.store.folder import RunFolder
from subspace.train.callbacks import Callback, Stopped
from subspace.train.trainer import Trainer

pytestmark = pytest.mark.xdist_group("phases")  # its runs are made once

SAMPLE = ("run", "dldr", "--epochs", 3, "--batch-size", 256)
PHASES = (
    *("--then", "pbfgs:dim=2,epochs=2,batch_size=400"),
    *("--then", "rbd:dim=20,epochs=1,batch-size=256,lr=0.5"),
)
# epochs of 5, 3 and 5 steps, so that phases end at steps 15, 21 and 26
SIZE = 9610


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three phases; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "three"
    result = invoke(*SAMPLE, *PHASES, "--out", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that only samples; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "sampled"
    result = invoke(*SAMPLE, "--out", path)
    assert result.exit_code == 0, result.output
    return path


def samples(path: Path) -> np.ndarray:
    return np.fromfile(path / "trajectory-1.f32", np.float32).reshape(-1, SIZE)


def test_records_and_summary_span_the_phases(three: Path):
    records = RunFolder(three).records()
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["phase"] for record in records] == [1, 1, 1, 2, 2, 3]
    assert [record["step"] for record in records] == [5, 10, 15, 18, 21, 26]
    assert [record.get("searches") for record in records] == [None] * 3 + [3, 6, None]
    summary = RunFolder(three).summary()
    assert summary["method"] == "dldr-pbfgs-rbd"
    assert (summary["epochs"], summary["steps"], summary["dimensions"]) == (6, 26, 20)
    sampling, subspace, random = summary["phases"]
    assert sampling["test_accuracy"] > 0.5
    assert subspace["dim"] == 2
    assert random["test_accuracy"] == summary["test_accuracy"]
    assert sum(summary["explained_variance_ratio"]) == pytest.approx(1)
    assert (three / "variance.png").read_bytes().startswith(b"\x89PNG")


def test_samples_are_the_parameters_at_the_start_and_after_every_epoch(three: Path, sampled: Path):
    rows = samples(three)
    assert rows.shape == (4, SIZE)
    np.testing.assert_array_equal(rows, samples(sampled))
    config = RunFolder(sampled).read_config()
    trainer = Trainer(config, run.load(config))
    np.testing.assert_array_equal(rows[0], trainer.row(trainer.weights))
    arrays = final_arrays(sampled)
    flat = [arrays[name].ravel() for name in arrays if name.startswith("params.")]
    np.testing.assert_array_equal(np.sort(rows[3]), np.sort(np.concatenate(flat)))
    assert len(np.unique(rows[:, :100], axis=0)) == 4


@pytest.mark.parametrize("step", [2, 5, 13, 15, 17, 20, 21, 24])
def test_resumes_bit_for_bit_in_the_middle_of_every_phase(tmp_path: Path, three: Path, step: int):
    folder = RunFolder(tmp_path / "run")
    config = RunFolder(three).read_config()
    asked = iter(range(100))
    with pytest.raises(Stopped):
        run.execute(config, folder, callback=Callback(should_stop=lambda: next(asked) == step))
    assert not folder.summary_file.exists()
    run.execute(config, folder, resume=True)
    assert_same_run(folder.path, three)
    np.testing.assert_array_equal(samples(folder.path), samples(three))


def test_going_back_over_a_phase(cli: Cli, copy: Callable[[Path], Path], three: Path):
    path = copy(three)
    for step in (21, 26):
        damage(path / "checkpoints" / str(step))
    result = cli("run", "--out", path, "--resume")
    assert result.exit_code == 0, result.output
    assert "continuing after step 18 of 26" in result.stdout
    assert_same_run(path, three)


def test_start_of_a_phase_on_a_trajectory(cli: Cli, sampled: Path):
    first, last = (
        cli(
            *("run", "psgd", "--from", sampled, "--dim", 1, "--lr", 1e-9, "--epochs", 1),
            *("--start", start, "--out", start),
        )
        for start in ("first", "last")
    )
    assert first.exit_code == last.exit_code == 0, first.output + last.output
    accuracy = {
        name: RunFolder(Path(name)).summary()["test_accuracy"] for name in ("first", "last")
    }
    assert accuracy["last"] == RunFolder(sampled).summary()["test_accuracy"]
    assert accuracy["first"] < accuracy["last"] - 0.3


def test_from_a_sampling_run_is_as_then(cli: Cli, three: Path, sampled: Path):
    given = ("--dim", 2, "--epochs", 2, "--batch-size", 400)
    result = cli("run", "pbfgs", "--from", sampled, *given, "--out", "run")
    assert result.exit_code == 0, result.output
    ours = timeless(Path("run"))
    assert ours[-1]["train_accuracy"] > 0.6
    assert RunFolder(Path("run")).read_config().source == str(sampled)
    theirs = timeless(three)[3]
    # another data order, as epochs are counted anew, but from the same place
    assert ours[0]["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.2)
    resumed = cli("run", "--out", "run", "--resume", "--epochs", 3)
    assert resumed.exit_code == 0, resumed.output


def test_going_on_from_a_run_starts_at_its_weights(cli: Cli, straight: Path):
    given = ("--epochs", 1, "--lr", 1e-9)
    assert cli("run", "sgd", "--from", straight, *given, "--out", "on").exit_code == 0
    ours, theirs = RunFolder(Path("on")).summary(), RunFolder(straight).summary()
    assert ours["test_accuracy"] == theirs["test_accuracy"]


@pytest.mark.parametrize("phases", [("rbd", "sgd"), ("sgd", "rbd")])
def test_hybrids_go_on_where_they_switch(cli: Cli, phases: tuple[str, str]):
    first, second = phases
    result = cli(
        *("run", first, "--epochs", 2, "--batch-size", 64, "--lr", 0.1),
        *("--then", f"{second}:epochs=1,batch_size=64", "--out", "run"),
    )
    assert result.exit_code == 0, result.output
    losses = [record["train_loss"] for record in RunFolder(Path("run")).records()]
    assert losses[2] < losses[1]


def test_a_fraction_of_the_variance_and_newton(cli: Cli, sampled: Path):
    given = ("--dim", 0.999, "--epochs", 1, "--batch-size", 600, "--json")
    result = cli("run", "newton", "--from", sampled, *given)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["dimensions"] in (2, 3)
    assert summary["train_loss"] < 2.5


def test_steps_between_samples(cli: Cli):
    result = cli(*SAMPLE, "--sample-every", 4, "--out", "run")
    assert result.exit_code == 0, result.output
    assert len(samples(Path("run"))) == 15 // 4 + 1


def test_a_run_does_not_need_its_source_any_more(cli: Cli, tmp_path: Path, sampled: Path):
    source = tmp_path / "source"
    shutil.copytree(sampled, source)
    given = ("run", "pbfgs", "--from", source, "--dim", 2, "--batch-size", 400, "--epochs")
    assert cli(*given, 3, "--out", "straight").exit_code == 0
    assert cli(*given, 1, "--out", "run").exit_code == 0
    shutil.rmtree(source)
    resumed = cli("run", "--out", "run", "--resume", "--epochs", 3)
    assert resumed.exit_code == 0, resumed.output
    assert_same_run(Path("run"), Path("straight"))
    # and it hands on the trajectory that it went on from, to start where it ended
    on = cli("run", "psgd", "--from", "run", "--dim", 1, "--lr", 1e-9, "--epochs", 1, "--out", "on")
    assert on.exit_code == 0, on.output
    ours, theirs = (RunFolder(Path(name)).summary()["test_accuracy"] for name in ("on", "run"))
    assert ours == theirs


def test_a_source_whose_end_is_damaged(cli: Cli, copy: Callable[[Path], Path], straight: Path):
    path = copy(straight)
    damage(path / "checkpoints" / "60")
    check(cli("run", "sgd", "--from", path), "--from: ", "step 60", "step 40", "resume")


def test_phases_have_directions_and_data_orders_of_their_own(straight: Path):
    given = {"method": "fpd", "dim": 5}
    plain = RunConfig.resolve(given, [given])
    after = replace(plain, epochs_before=3)
    seen = set()
    for config in (plain, after):
        trainer = Trainer(config, run.load(config))
        for index in (0, 1):
            state = trainer.first_state(trainer.running(index), trainer.weights, 1).opt_state
            seen.add(int(state.space.seed))  # pyright: ignore
        seen.add(tuple(trainer.order(trainer.phases[0], 0)[:5].tolist()))
    assert len(seen) == 6
    assert plain.seed in seen


def test_a_diverging_trajectory_ends_as_any_run_that_diverges(cli: Cli):
    given = ("--epochs", 3, "--batch-size", 256, "--lr", 1e20, "--sample-every", 1)
    result = cli("run", "dldr", *given)
    assert result.exit_code == 3, result.output
    assert "not finite" in result.stderr


def test_a_trajectory_that_does_not_move(cli: Cli):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez("one.npz", x=images, y=np.zeros(40, int))  # of one class: there is nothing to learn
    given = ("--epochs", 2, "--batch-size", 8, "--weight-decay", 0, "--dataset", "npz:one.npz")
    result = cli("run", "dldr", *given, "--out", "still")
    assert result.exit_code == 0, result.output
    assert RunFolder(Path("still")).summary()["explained_variance_ratio"] is None
    check(
        cli("run", "psgd", "--from", "still", "--dim", 1, "--batch-size", 8, "--out", "on"),
        "--from: ",
        "equal",
    )
    assert not Path("on").exists()


BAD_SOURCES = {
    "--model": ("--model", "cnn"),
    "--dataset": ("--dataset", "mnist"),
    "--seed": ("--seed", 3),
    "--validation": ("--validation", 0.5),
    "--dim": ("--dim", 4),
}


@pytest.mark.parametrize("flag", BAD_SOURCES)
def test_a_source_of_another_task(cli: Cli, tmp_path: Path, sampled: Path, flag: str):
    given = ("--dim", 2) if flag != "--dim" else ()
    check(cli("run", "psgd", "--from", sampled, *given, *BAD_SOURCES[flag]), f"{flag}: ")
    assert snapshot(tmp_path) == {}


def test_a_source_without_what_is_needed(
    cli: Cli, tmp_path: Path, copy: Callable[[Path], Path], sampled: Path, straight: Path
):
    check(cli("run", "psgd", "--from", straight, "--dim", 2), "--from: ", "no trajectory")
    short, gone, unfinished = copy(sampled), tmp_path / "gone", tmp_path / "unfinished"
    short.rename(gone)
    (gone / "trajectory-1.f32").unlink()
    check(cli("run", "psgd", "--from", gone, "--dim", 2), "--from: ", "there is no file")
    copy(sampled).rename(unfinished)
    (unfinished / "summary.json").unlink()
    check(cli("run", "psgd", "--from", unfinished, "--dim", 2), "--from: ", "--resume")
    (copy(sampled) / "trajectory-1.f32").write_bytes(b"\0" * 1000)
    path = tmp_path / "copies" / sampled.name
    check(cli("run", "psgd", "--from", path, "--dim", 2), "--from: ", "damaged")
    assert not (tmp_path / "runs").exists()


def test_a_trajectory_that_is_cut_short(cli: Cli, copy: Callable[[Path], Path], three: Path):
    path = copy(three)
    samples(path)[:2].tofile(path / "trajectory-1.f32")
    damage(path / "checkpoints" / "26")
    check(cli("run", "--out", path, "--resume"), "--resume: ", "cut short")


def test_what_a_resumed_run_of_several_phases_can_not_change(cli: Cli, three: Path):
    before = snapshot(three)
    again = ("run", "dldr", "--out", three, "--resume")
    check(cli(*again, "--then", "sgd"), "--then: ", "leave it out")
    check(cli(*again, "--epochs", 5), "--epochs: ", "--from")
    assert snapshot(three) == before


def test_damaged_phases(cli: Cli, copy: Callable[[Path], Path], three: Path):
    for change in ({"phases": []}, {"phases": [{}]}, {"phases": 3}, {"phases": [3]}):
        path = copy(three)
        edit_record(path / "config.json", lambda config, change=change: config.update(change))
        check(cli("run", "--out", path, "--resume"), "--resume: ", "damaged")
        path.rename(path.with_name(str(len(str(change)))))


def test_milestones_come_into_reach_on_resuming(cli: Cli):
    given = ("run", "sgd", "--batch-size", 256, "--milestones", "2,1000000000", "--epochs")
    assert cli(*given, 3, "--out", "straight").exit_code == 0
    assert cli(*given, 1, "--out", "run").exit_code == 0
    resumed = cli("run", "--out", "run", "--resume", "--epochs", 3)
    assert resumed.exit_code == 0, resumed.output
    assert_same_run(Path("run"), Path("straight"))


def test_milestones_lower_the_learning_rate(cli: Cli):
    given = ("--batch-size", 256, "--epochs", 3, "--momentum", 0, "--out")
    assert cli("run", "sgd", *given, "plain").exit_code == 0
    assert cli("run", "sgd", *given, "drop", "--milestones", "1,2").exit_code == 0
    plain, drop = (timeless(Path(name)) for name in ("plain", "drop"))
    assert plain[0] == drop[0]
    assert drop[2]["train_loss"] > plain[2]["train_loss"]


@pytest.mark.parametrize("step", [3, 12])
def test_batch_norm_goes_through_phases_samples_and_resuming(
    cli: Cli,
    tmp_path: Path,
    normed: None,  # noqa: F811
    step: int,
):
    task = {"model": "normed", "method": "dldr", "epochs": 2}
    then = {"method": "psgd", "dim": 1, "epochs": 2, "batch_size": 256}
    config = RunConfig.resolve(task | {"batch_size": 256}, [then])
    straight, folder = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "run")
    run.execute(config, straight)
    asked = iter(range(100))
    with pytest.raises(Stopped):
        run.execute(config, folder, callback=Callback(should_stop=lambda: next(asked) == step))
    run.execute(config, folder, resume=True)
    assert_same_run(folder.path, straight.path)
    trainer = Trainer(config, run.load(config))
    rows = np.fromfile(folder.trajectory_file(0), np.float32).reshape(3, trainer.row_size)
    assert trainer.row_size == trainer.parameters + 2
    np.testing.assert_array_equal(rows[0, -2:], [0, 1])  # mean and variance at the start
    start = trainer.running(1, rows).start
    assert start is not None
    np.testing.assert_array_equal(trainer.row(start), rows[0])
    arrays = final_arrays(folder.path)
    images = np.asarray(trainer.dataset.train.inputs[:1280], np.float32).reshape(5, -1) / 255
    found = [arrays[name] for name in sorted(arrays) if name.startswith("model_state")]
    np.testing.assert_allclose(found[0], [images.mean()], rtol=1e-5)
    np.testing.assert_allclose(found[1], [images.var(axis=1).mean()], rtol=1e-4)
    records = straight.records()
    assert [record.get("recalibrated") for record in records] == [None, None, None, True]


def test_half_samples_take_half_the_space_and_can_be_resumed(cli: Cli, tmp_path: Path):
    run = ("--epochs", 2, "--batch-size", 256, "--half-samples", "--out", tmp_path / "a")
    assert cli("run", "dldr", *run).exit_code == 0
    assert cli("run", "dldr", "--out", tmp_path / "a", "--resume", "--epochs", 3).exit_code == 0
    file = tmp_path / "a" / "trajectory-1.f16"
    assert file.stat().st_size == 4 * 9610 * 2
    then = ("--dim", 2, "--epochs", 1, "--batch-size", 256, "--half-samples", "--out")
    check(cli("run", "psgd", "--from", tmp_path / "a", *then, tmp_path / "b"), "--half-samples")
    given = ("--from", tmp_path / "a", "--dim", 2, "--epochs", 1, "--out", tmp_path / "b")
    result = cli("run", "psgd", *given)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "b" / "trajectory-0.f16").read_bytes() == file.read_bytes()


FLAT = (
    {"method": "dldr", "epochs": 2, "batch_size": 256},
    {"method": "pbfgs", "dim": 1, "epochs": 30, "batch_size": 256, "until_flat": True},
    {"method": "psgd", "dim": 1, "epochs": 30, "batch_size": 256, "until_flat": True},
)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last two phases end as soon as the held-out loss is flat; not to be changed."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "flat")
    run.execute(RunConfig.resolve(FLAT[0], FLAT[1:]), folder)
    return folder.path


def test_a_phase_ends_once_the_held_out_loss_is_flat(flat: Path, cli: Cli):
    second, third = (
        [one for one in RunFolder(flat).records() if one["phase"] == phase] for phase in (2, 3)
    )
    assert second[-1]["ended"] == third[-1]["ended"] == "flat"
    assert 3 <= second[-1]["step"] - 10 < 150
    assert second[0]["epoch"] == 3
    assert third[0]["epoch"] == 33  # where it would be if the one before it had gone on
    summary = RunFolder(flat).summary()
    assert summary["phases"][1]["ended"] == "flat"
    assert summary["phases"][1]["test_accuracy"] > 0.5
    result = cli("run", "--out", flat, "--resume")
    assert result.exit_code == 0, result.output
    assert RunFolder(flat).summary()["steps"] == summary["steps"]


@pytest.mark.parametrize("step", [4, 11, 12, 15])
def test_and_where_it_is_stopped_in_between_at_the_same_step(flat: Path, tmp_path: Path, step: int):
    folder, config = RunFolder(tmp_path / "run"), RunFolder(flat).read_config()
    asked = iter(range(400))
    with pytest.raises(Stopped):
        run.execute(config, folder, callback=Callback(should_stop=lambda: next(asked) == step))
    run.execute(config, folder, resume=True)
    assert_same_run(folder.path, flat)


def test_cost_is_counted_in_gradients_over_the_training_split(three: Path):
    costs = [record["gradient_epochs"] for record in RunFolder(three).records()]
    examples = 1293  # of 1,437 that are not held out
    assert costs[:3] == pytest.approx([n * 5 * 256 / examples for n in (1, 2, 3)])
    searches = [costs[i] - costs[i - 1] for i in (3, 4)]
    least = 3 * 400 / examples * (1 + 1 / 3)  # a gradient, and a trial or more
    assert all(cost >= least * 0.99 for cost in searches)
    assert costs[5] - costs[4] == pytest.approx(5 * 256 / examples)
    assert RunFolder(three).summary()["gradient_epochs"] == costs[5]


def test_twa_starts_at_the_average_of_the_newest_samples(sampled: Path, cli: Cli):
    given = ("--from", sampled, "--epochs", 1, "--batch-size", 256, "--lr", 1e-30)
    result = cli("run", "twa", *given, "--tail", 2, "--out", "twa")
    assert result.exit_code == 0, result.output
    config = RunFolder(sampled).read_config()
    arrays, trainer = final_arrays(Path("twa")), Trainer(config, run.load(config))
    flat = [arrays[name].ravel() for name in arrays if name.startswith("params.")]
    expected = samples(sampled)[-2:].mean(axis=0)
    np.testing.assert_allclose(
        np.sort(np.concatenate(flat)), np.sort(expected[: trainer.parameters]), atol=1e-6
    )
    assert RunFolder(Path("twa")).summary()["dimensions"] == 2
    check(cli("run", "twa", "--from", sampled, "--tail", 1), "--tail: twa needs", "1 count")
    check(cli("run", "psgd", "--from", sampled, "--tail", 2, "--dim", 2), "--dim: ", "2 count")


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_a_run_ends_at_its_average_and_the_next_phase_begins_there(kind: str, cli: Cli):
    given = ("--epochs", 4, "--batch-size", 256, "--sample-every", "epoch", "--out")
    result = cli("run", "sgd", "--average", kind, *given, kind, "--then", "sgd:epochs=1,lr=1e-30")
    assert result.exit_code == 0, result.output
    records = RunFolder(Path(kind)).records()
    assert [one.get("averaged") for one in records] == [None, None, None, kind, None]
    assert records[4]["validation_loss"] == pytest.approx(records[3]["validation_loss"], rel=1e-4)
    arrays = final_arrays(Path(kind))
    flat = np.concatenate([arrays[name].ravel() for name in arrays if name.startswith("params.")])
    swa = samples(Path(kind))[3:5].mean(axis=0)
    assert np.allclose(np.sort(flat), np.sort(swa), atol=1e-5) == (kind == "swa")
