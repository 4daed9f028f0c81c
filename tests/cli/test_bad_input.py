"""Whatever can't be used: one clear line, exit code 2, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import Cli, check, snapshot

OPTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("run", ("METHOD: ", "rbd, fpd, nes")),
    ("run rdb", ("METHOD: ", "did you mean 'rbd'", "rbd, fpd, nes")),
    ("run nes --sigma 0", ("--sigma: ", "positive number")),
    ("run nes --shaping odd", ("--shaping: ", "ranks, normalise, none")),
    ("run rbd --sigma 1", ("--sigma: ", "does not apply to rbd")),
    ("run rbd --basis hadamrd", ("--basis: ", "did you mean 'hadamard'")),
    ("run rbd --model vgg", ("--model: ", "fc, cnn, resnet8, resnet32")),
    ("run rbd --compartments odd", ("--compartments: ", "whole, layer, leaf, even:K")),
    ("run rbd --compartments even:0", ("--compartments: ", "even:K")),
    ("run rbd --allocate most", ("--allocate: ", "same, split, proportional")),
    ("run rbd --scale big", ("--scale: ", "unit, paper")),
    ("run rbd --dim 0", ("--dim: ", "must be", "0")),
    ("run rbd --dim -3", ("--dim: ", "must be", "-3")),
    ("run rbd --dim 9611", ("--dim: ", "9610")),
    ("run rbd --dim 100 --compartments leaf", ("--dim: ", "10 parameters")),
    ("run rbd --dim 2 --compartments leaf --allocate split", ("--dim: ", "4 compartments")),
    ("run rbd --dim 1e3", ("--dim: ", "whole number")),
    (f"run rbd --dim {10**400} --allocate proportional", ("--dim: ", "at most 2147483647")),
    (f"run rbd --redraw-every {2**31}", ("--redraw-every: ", "at most 2147483647")),
    ("run rbd --redraw-every 0", ("--redraw-every: ", "at least 1")),
    ("run rbd --lr 0", ("--lr: ", "positive")),
    ("run rbd --lr -1", ("--lr: ", "positive")),
    ("run rbd --lr nan", ("--lr: ", "positive")),
    ("run rbd --lr inf", ("--lr: ", "positive")),
    ("run rbd --momentum 1", ("--momentum: ", "below 1")),
    ("run rbd --momentum nan", ("--momentum: ", "below 1")),
    ("run rbd --weight-decay -0.1", ("--weight-decay: ", "0 or more")),
    ("run rbd --weight-decay inf", ("--weight-decay: ", "0 or more")),
    ("run rbd --epochs 0", ("--epochs: ", "at least 1")),
    ("run rbd --batch-size 0", ("--batch-size: ", "at least 1")),
    ("run rbd --batch-size 1294", ("--batch-size: ", "1293")),
    ("run rbd --validation 1", ("--validation: ", "below 1")),
    ("run rbd --validation nan", ("--validation: ", "below 1")),
    ("run rbd --seed -1", ("--seed: ", "0 or more and at most 4294967295")),
    ("run rbd --seed 4294967296", ("--seed: ", "0 or more and at most 4294967295")),
    ("run rbd --checkpoint-every 0", ("--checkpoint-every: ", "at least 1")),
    ("run sgd --dim 250", ("--dim: ", "does not apply to sgd")),
    ("run rbd --in-law", ("--in-law", "subspace run --help")),
    ("run rbd_in_law --basis normal", ("--basis: ", "does not apply to rbd_in_law")),
    ("run rbd_in_law --error-feedback", ("--error-feedback: ", "does not apply to rbd_in_law")),
    ("run fpd --error-feedback", ("--error-feedback: ", "does not apply to fpd")),
    ("run fpd --redraw-every 2", ("--redraw-every: ", "does not apply to fpd")),
    ("run pbfgs", ("METHOD: ", "builds on a trajectory", "dldr --then pbfgs", "--from")),
    ("run rbd --then psgd", ("--then: ", "psgd builds on a trajectory")),
    ("run dldr --then", ("--then", "requires an argument")),
    ("run dldr --then pbgfs", ("--then: ", "did you mean 'pbfgs'")),
    ("run dldr --then pbfgs:foo=1", ("--then: ", "foo", "unknown key", "on_failure")),
    ("run dldr --then pbfgs:lr=1", ("--then: ", "learning_rate", "does not apply to pbfgs")),
    ("run dldr --then pbfgs:dim", ("--then: ", "'dim'", "key=value")),
    ("run dldr --then pbfgs:dim=x", ("--then: ", "dim: can't read 'x'")),
    ("run dldr --then pbfgs:dim=3,dim=4", ("--then: ", "dim stands twice")),
    ("run dldr --then pbfgs:dim=0", ("--then: ", "dim", "positive")),
    ("run dldr --then pbfgs:dim=31", ("--then: ", "32 samples", "has 31")),
    ("run dldr --then pbfgs:dim=1.5", ("--then: ", "dim", "fraction below 1")),
    ("run dldr --then pbfgs:pairs=odd", ("--then: ", "pairs", "paper, shared")),
    ("run dldr --then pbfgs:on_failure=odd", ("--then: ", "on_failure", "stay, paper")),
    ("run dldr --then pbfgs:damping=1", ("--then: ", "damping", "below 1")),
    ("run dldr --then newton:damping=0", ("--then: ", "damping", "positive")),
    ("run dldr --then pbfgs:alpha=-1", ("--then: ", "alpha", "0 or more")),
    ("run dldr --then pbfgs:start=middle", ("--then: ", "start", "first, last, average, here")),
    ("run dldr --then pbfgs:batch_size=2000", ("--then: ", "batch_size", "1293")),
    ("run dldr --then psgd:milestones=5,3", ("--then: ", "milestones", "growing")),
    ("run dldr --then rbd:dim=9611", ("--then: ", "dim", "9610")),
    ("run dldr --epochs 2 --sample-every 30 --then psgd:dim=2", ("--then: ", "samples")),
    ("run dldr --milestones x", ("--milestones: ", "whole numbers")),
    ("run dldr --sample-every never", ("--sample-every: ", "whole number, at least 1 or epoch")),
    ("run dldr --sample-every 0", ("--sample-every: ", "at least 1 or epoch")),
    ("run hylo --rank 0", ("--rank: ", "at most 1")),
    ("run hylo --rank 1.5", ("--rank: ", "at most 1")),
    ("run hylo --selection top", ("--selection: ", "hybrid, kid, kis")),
    ("run hylo --selection sngd", ("--selection: ", "hybrid, kid, kis")),
    ("run hylo --threshold nan", ("--threshold: ", "0 or more")),
    ("run hylo --memory 0", ("--memory: ", "at least 1")),
    ("run hylo --memory 1000000", ("--memory: ", "3 rows each", "at most 5461")),
    ("run sngd --memory 2", ("--memory: ", "does not apply to sngd")),
    ("run sngd --damping 0", ("--damping: ", "positive")),
    ("run kfac --damping inf", ("--damping: ", "positive")),
    ("run kfac --refresh 0", ("--refresh: ", "at least 1")),
    ("run sngd --rank 0.1", ("--rank: ", "does not apply to sngd")),
    ("run hylo --exchange split", ("--exchange: ", "does not apply to hylo")),
    ("run rbd --then hylo:rank=2", ("--then: ", "rank", "at most 1")),
    ("run rbd --dim 0.5", ("--dim: ", "can't read '0.5'", "whole number")),
    ("run dldr --then nes:sigma=inf", ("--then: ", "sigma", "positive")),
    ("run nes --weight-decay 0.1", ("--weight-decay: ", "does not apply to nes")),
    ("run dldr --sample-every 99999999 --then psgd:dim=0.5", ("--then: ", "2 samples")),
    ("run sgd --epochs 1000000000 --then sgd", ("--epochs: ", "2**31")),
    ("run psgd --from ~nosuchuser/run", ("--from: ", "nosuchuser")),
    ("run psgd --from nowhere", ("--from: ", "nowhere")),
    ("run nes --separate-batches --dim 50", ("--batch-size: ", "at least 50")),
    ("run rbd --resume", ("--resume: ", "--out RUN")),
    ("run rbd --resume --out nowhere", ("--resume: ", "nowhere")),
    ("run rbd --dataset mnist --data-dir nowhere", ("--data-dir: ", "nowhere", "doesn't exist")),
    ("run rbd --dataset ../mnist", ("--dataset: ", "name[/config]")),
    ("run rbd --dim abc", ("--dim: ", "can't read 'abc'", "whole number")),
    ("run rbd --dimm 3", ("--dimm", "--dim", "subspace run --help")),
    ("run rbd --dim", ("'--dim' requires an argument",)),
    ("run rbd fpd", ("fpd", "subspace run --help")),
    ("runn rbd", ("runn", "'run'", "subspace --help")),
    ("evaluate", ("RUN: ", "--init-from FILE")),
    ("evaluate nowhere", ("RUN: ", "nowhere")),
    ("evaluate nowhere --split best", ("--split: ", "train, validation, test")),
    ("compare", ("RUN", "subspace compare --help")),
    ("compare nowhere", ("RUN: ", "nowhere")),
    ("compare nowhere --plot picture.pdf", ("--plot: ", ".png")),
    ("compare nowhere --plot gone/picture.png", ("--plot: ", "gone")),
]


@pytest.mark.parametrize(("line", "said"), OPTIONS, ids=[line[:50] for line, _ in OPTIONS])
def test_bad_options(cli: Cli, tmp_path: Path, line: str, said: tuple[str, ...]):
    check(cli(*line.split()), *said)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [("config.json", "--resume"), ("notes.txt", "not empty")],
    ids=["another run", "something else"],
)
def test_out_holds_something(cli: Cli, tmp_path: Path, content: str, said: str):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / content).write_text("precious")
    before = snapshot(tmp_path)
    check(cli("run", "rbd", "--out", "taken"), "--out: ", said)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("out", ["file", "file/below", "file/below/it", "long" * 100])
def test_out_can_not_be_a_folder(cli: Cli, tmp_path: Path, out: str):
    (tmp_path / "file").write_text("precious")
    before = snapshot(tmp_path)
    check(cli("run", "rbd", "--out", out), "--out: ", out)
    assert snapshot(tmp_path) == before


def test_data_dir_lacks_the_dataset(cli: Cli, tmp_path: Path):
    (tmp_path / "tfds").mkdir()
    result = cli("run", "rbd", "--dataset", "mnist", "--data-dir", "tfds", "--out", "run")
    check(result, "--data-dir: ", "mnist", "holds no dataset")
    result = cli("run", "rbd", "--dataset", "mnits", "--data-dir", "tfds", "--out", "run")
    check(result, "--dataset: ", "did you mean 'mnist'")
    assert snapshot(tmp_path) == {"tfds": None}


def test_model_does_not_fit_the_images(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from helpers import random_images, write_tfds

    monkeypatch.setenv("SUBSPACE_CACHE", str(tmp_path / "cache"))
    images = random_images(12, (4, 4, 1))
    write_tfds(tmp_path / "tfds", "small", {"train": images, "test": images})
    given = ("--dataset", "small", "--data-dir", "tfds", "--batch-size", 2)
    check(cli("run", "rbd", "--model", "cnn", *given, "--out", "run"), "--model: ", "4")
    assert not (tmp_path / "run").exists()
