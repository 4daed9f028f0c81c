"""``subspace replay``: weights from seeds and coordinates, bit for bit, from damaged logs too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import STEPS, TINY, Cli, check, edit_record, final_arrays, snapshot

pytestmark = pytest.mark.xdist_group("replay")  # its runs are made once

Copy = Callable[[Path], Path]
RECORD = 4 * (20 + 1)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two phases with logs, which was stopped in between; not to be changed."""
    from cli_helpers import invoke

    path = tmp_path_factory.mktemp("logged") / "run"
    log = ("--log-coordinates", "--momentum", 0.5, "--weight-decay", 0.01, "--milestones", 1)
    then = "fpd:dim=20,epochs=1,batch_size=64,lr=0.5,log_coordinates=yes"
    result = invoke("run", "rbd", *TINY, *log, "--epochs", 2, "--then", then, "--out", path)
    assert result.exit_code == 0, result.output
    return path


def test_the_whole_run_is_rebuilt_bit_for_bit(cli: Cli, logged: Path):
    result = cli("replay", logged, "--verify", "--out", "weights.npz", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["step"], found["logged"], found["cut_short"]) == (3 * STEPS, 3 * STEPS, False)
    assert found["differences"] == {str(step): 0.0 for step in (STEPS, 2 * STEPS, 3 * STEPS)}
    saved = final_arrays(logged)
    with np.load("weights.npz") as arrays:
        assert len(arrays) == 4
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], saved[f"params.{name}"])
    assert (logged / "coordinates-1.log").stat().st_size == 2 * STEPS * RECORD


def test_any_step_is_on_the_way_there(cli: Cli, logged: Path):
    for step in (0, 7, STEPS):
        result = cli("replay", logged, "--step", step, "--verify", "--json")
        found = json.loads(result.stdout)
        assert found["step"] == step
        assert list(found["differences"].values()) == ([0.0] if step == STEPS else [])


@pytest.mark.parametrize("exchange", ["independent", "split"])
def test_workers_with_directions_of_their_own(cli: Cli, exchange: str):
    given = (*TINY, "--workers", 4, "--exchange", exchange, "--log-coordinates")
    assert cli("run", "rbd", *given, "--epochs", 1, "--out", "run").exit_code == 0
    result = cli("replay", "run", "--verify")
    assert result.exit_code == 0, result.output
    assert "the same bits" in result.stdout


def test_a_resumed_run_has_each_step_once(cli: Cli):
    given = ("run", "nes", *TINY, "--log-coordinates")
    assert cli(*given, "--epochs", 1, "--out", "run").exit_code == 0
    with Path("run/coordinates-1.log").open("ab") as file:
        file.write(b"steps after the checkpoint")
    assert cli("run", "--out", "run", "--resume", "--epochs", 2).exit_code == 0
    result = cli("replay", "run", "--verify", "--json")
    assert json.loads(result.stdout)["differences"] == {str(STEPS): 0.0, str(2 * STEPS): 0.0}


def test_a_log_that_is_cut_short(cli: Cli, copy: Copy, logged: Path):
    path = copy(logged)
    file = path / "coordinates-2.log"
    file.write_bytes(file.read_bytes()[: 5 * RECORD + 3])
    result = cli("replay", path, "--verify")
    assert result.exit_code == 1, result.output
    assert "Compared with 2 of 3 checkpoints" in result.stdout
    assert f"whole up to step {2 * STEPS + 5} only" in result.stdout
    assert f"step {2 * STEPS}: the same bits" in result.stdout


def test_a_log_with_a_flipped_bit(cli: Cli, copy: Copy, logged: Path):
    path = copy(logged)
    file = path / "coordinates-1.log"
    held = bytearray(file.read_bytes())
    held[11 * RECORD + 6] ^= 4
    file.write_bytes(held)
    result = cli("replay", path, "--json")
    found = json.loads(result.stdout)
    assert (found["step"], found["cut_short"]) == (11, True)
    result = cli("run", "--out", path, "--resume")
    assert result.exit_code == 0, result.output  # finished: nothing to append to that log


def test_a_checkpoint_that_differs_is_told(cli: Cli, logged: Path, copy: Copy):
    path = copy(logged)
    edit_record(path / "config.json", lambda config: config.update(seed=1))
    result = cli("replay", path, "--verify")
    assert result.exit_code == 1
    assert "differs by up to" in result.stdout


def test_bad_input_changes_nothing(cli: Cli, straight: Path, logged: Path, tmp_path: Path):
    (tmp_path / "old.npz").write_text("mine")
    before = snapshot(logged)
    check(cli("replay", "nowhere"), "RUN", "there is no run in nowhere")
    check(cli("replay", straight), "RUN", "run it with --log-coordinates")
    check(cli("replay", logged, "--out", "old.npz"), "--out", "is there already")
    check(cli("replay", logged, "--out", "weights.bin"), "--out", "must end in .npz")
    check(cli("replay", logged, "--out", "no/weights.npz"), "--out", "there is no folder no")
    check(cli("replay", logged, "--step", -1), "--step")
    assert snapshot(logged) == before
    assert (tmp_path / "old.npz").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--exchange", "gossip"),
            "--exchange: unknown exchange 'gossip'; choose from: mean",
        ),
        (("--combine", "mean"), "--combine: goes with the exchange independent"),
        (("--combine", "median"), "--combine: unknown combine 'median'"),
        (("--exchange", "split", "--error-feedback"), "directions that all workers share"),
        (("--workers", 0), "--workers"),
        (("--workers", 3, "--exchange", "split", "--dim", 20), "--dim: the 20 dimensions of"),
        (
            ("--workers", 3, "--exchange", "independent"),
            "--batch-size: 32 can't be divided among 3",
        ),
        (("--coordinator", "localhost:1"), "--distributed: is needed with --coordinator"),
        (("--distributed", "--process-id", 0), "--distributed: give --coordinator, --num-proc"),
        (("--distributed",), "--distributed: "),
    ],
)
def test_what_workers_cannot_do(cli: Cli, options: tuple[object, ...], said: str):
    check(cli("run", "rbd", *options, "--out", "run"), said)
    assert not Path("run").exists()


@pytest.mark.parametrize("sent", ["float32", "int8"])
def test_rounds_of_local_steps_follow_from_what_was_agreed_on(cli: Cli, sent: str):
    """With error feedback too: what a worker missed is its own, and moves nothing until told."""
    rounds = ("--preset", "strong", "--local-steps", 4, "--workers", 2, "--sent-as", sent)
    result = cli("run", "rbd", *TINY, *rounds, "--log-coordinates", "--epochs", 2, "--out", "run")
    assert result.exit_code == 0, result.output
    result = cli("replay", "run", "--verify")
    assert result.exit_code == 0, result.output
    assert "the same bits" in result.stdout


def test_a_worker_that_was_away_needs_the_coordinates_that_it_missed(cli: Cli, logged: Path):
    """Bit for bit, in a phase with momentum and in the one after it."""
    for since, step in ((STEPS, 2 * STEPS), (STEPS + 3, 3 * STEPS), (2 * STEPS, 3 * STEPS)):
        at = since // STEPS * STEPS  # where its last checkpoint is
        result = cli("replay", logged, "--since", since, "--step", step, "--verify", "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert (found["since"], found["numbers"]) == (at, 20 * (step - at))
        assert set(found["differences"].values()) == {0.0}


def test_one_that_missed_the_beginning_too_begins_there(cli: Cli, logged: Path):
    check(cli("replay", logged, "--since", STEPS - 1), "--since: ", "no checkpoint")
    check(cli("replay", logged, "--since", 9, "--step", 3), "--since: ", "at most")
