"""Beginning with given weights; a run as seeds and coordinates, and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Cli, check, invoke
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from subspace import run as library
from subspace.store.folder import RunFolder

pytestmark = pytest.mark.xdist_group("export")  # its runs are made once

SMALL = ("--epochs", "1", "--batch-size", "128")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a fine-tune of it in a fixed subspace, and RBD with its coordinates."""

    folder = tmp_path_factory.mktemp("exported")
    for words in (
        ["sgd", "--out", str(folder / "base")],
        ["fpd", "--init-from", str(folder / "base"), "--seed", "3", "--dim", "20"],
        ["rbd", "--log-coordinates", "--dim", "20", "--out", str(folder / "rbd")],
    ):
        where = [] if "--out" in words else ["--out", str(folder / "fpd")]
        result = invoke("run", *words, *where, *SMALL)
        assert result.exit_code == 0, result.output
    return folder


def weights_of(run: Path) -> dict[str, np.ndarray]:
    saved = library.saved(RunFolder(run))
    return {"hidden": np.asarray(saved.weights.params.hidden.weight)}


@pytest.mark.parametrize(("name", "numbers"), [("fpd", 20), ("rbd", 20 * 10)])
def test_seeds_and_coordinates_make_the_weights_again(
    cli: Cli, runs: Path, tmp_path: Path, name: str, numbers: int
):
    small, large = tmp_path / "small.safetensors", tmp_path / "large.safetensors"
    made = cli("export", runs / name, "--out", small, "--json")
    assert made.exit_code == 0, made.output
    assert sum(array.size for array in load_file(small).values()) == numbers
    assert cli("apply", small, "--out", large).exit_code == 0
    again = load_file(large)["hidden.weight"]
    np.testing.assert_allclose(again, weights_of(runs / name)["hidden"], atol=1e-6)
    figures = library.evaluate(RunFolder(runs / name), file=large)
    assert figures["accuracy"] == library.evaluate(RunFolder(runs / name))["accuracy"]


def test_a_fixed_subspace_takes_a_kilobyte_or_two(runs: Path, tmp_path: Path):
    from subspace.run.export import export

    made = export(RunFolder(runs / "fpd"), tmp_path / "a.safetensors")
    assert made["numbers"] == 20
    assert made["bytes"] < 20 * 4 + 2000


def test_a_run_begins_with_the_weights_of_another_or_of_a_file(
    cli: Cli, runs: Path, tmp_path: Path
):
    file = tmp_path / "base.safetensors"
    assert cli("export", runs / "base", "--whole", "--out", file).exit_code == 0
    start = weights_of(runs / "base")["hidden"]
    np.testing.assert_array_equal(load_file(file)["hidden.weight"], start)
    same = ("--seed", "3", "--dim", "20", "--init-from", file, "--out", tmp_path / "b")
    assert cli("run", "fpd", *SMALL, *same).exit_code == 0
    np.testing.assert_array_equal(
        weights_of(tmp_path / "b")["hidden"], weights_of(runs / "fpd")["hidden"]
    )
    resumed = cli("run", "fpd", "--out", tmp_path / "b", "--resume", "--epochs", "2")
    assert resumed.exit_code == 0, resumed.output


def test_what_a_file_lacks_starts_afresh_and_is_said(cli: Cli, runs: Path, tmp_path: Path):
    from subspace.errors import InvalidInput
    from subspace.store.source import starting_weights

    file, fresh = tmp_path / "part.safetensors", library.saved(RunFolder(runs / "rbd")).weights
    base = weights_of(runs / "base")["hidden"]
    save_file({"hidden.weight": base}, file)
    with pytest.warns(UserWarning, match="start afresh: hidden.bias, output.bias, output.weight"):
        found = starting_weights(file, fresh, "init_from")
    np.testing.assert_array_equal(found.params.hidden.weight, base)
    np.testing.assert_array_equal(found.params.output.weight, fresh.params.output.weight)
    save_file({"hidden.weight": base[:5]}, file)
    with pytest.raises(InvalidInput, match="afresh"):
        starting_weights(file, fresh, "init_from")


def test_bad_files_are_one_line(cli: Cli, runs: Path, tmp_path: Path):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    cli("export", runs / "fpd", "--out", good)
    bad.write_bytes(good.read_bytes()[:200])
    other = tmp_path / "other.safetensors"
    save_file({"nothing.like.it": np.zeros(3, np.float32)}, other)
    out = ("--out", tmp_path / "x.safetensors")
    check(cli("apply", bad, *out), "FILE", "damaged")
    check(cli("apply", tmp_path / "none.safetensors", *out), "FILE", "no file")
    check(cli("apply", other, *out), "FILE", "subspace export")
    check(cli("apply", good, "--base", runs / "rbd", *out), "--base", "began with")
    check(cli("apply", good, "--out", good), "--out", "already")
    check(cli("apply", good, "--out", tmp_path / "x.npz"), "--out", ".safetensors")
    check(cli("export", runs / "base", *out), "RUN", "--whole")
    check(cli("export", tmp_path, *out), "RUN")
    check(cli("run", "fpd", "--init-from", good), "--init-from", "subspace apply")
    check(cli("run", "fpd", "--init-from", other), "--init-from", "nothing.like.it")
    check(cli("run", "fpd", "--init-from", tmp_path / "gone"), "--init-from", "no file")
    check(cli("run", "fpd", "--init-from", good, "--from", runs / "base"), "--init-from", "leave")
    check(cli("evaluate", runs / "fpd", "--weights", bad), "--weights", "damaged")
    with safe_open(good, "numpy") as opened:
        about = opened.metadata()
    save_file({"coordinates.more": np.zeros(3, np.float32)}, tmp_path / "less.safetensors", about)
    check(
        cli("apply", tmp_path / "less.safetensors", *out),
        "FILE",
        "isn't what was written",
    )
    assert not (tmp_path / "x.safetensors").exists()


def test_coordinates_that_are_cut_short_are_said(cli: Cli, runs: Path, tmp_path: Path):
    copy = shutil.copytree(runs / "rbd", tmp_path / "rbd")
    log = copy / "coordinates-1.log"
    log.write_bytes(log.read_bytes()[:400])
    check(cli("export", copy, "--out", tmp_path / "x.safetensors"), "RUN", "cut short")
