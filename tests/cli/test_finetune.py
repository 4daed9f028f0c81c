"""From texts to an adapter on the command line: a pretrained encoder, few numbers, few bytes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pretrained_folder
import pytest
from cli_helpers import Cli, check, final_arrays, invoke
from safetensors.numpy import load_file

import subspace
from subspace import run as library
from subspace.run.replay import at_its_start
from subspace.store.folder import RunFolder

pytestmark = pytest.mark.xdist_group("text")  # its run is made once

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FEW = ("--space", "factored", "--rank", 2, "--dim", 40, "--freeze", "embeddings.*")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for part, count in (("train", 240), ("test", 40)):
        labels = rng.integers(2, size=count)
        rows = [
            f"{'yn'[label]}\t{'good' if label else 'bad!'} {i % 7}"
            for i, label in enumerate(labels)
        ]
        (folder / f"{part}.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained_folder.write(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def tuned(texts: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in an adapter's numbers."""
    path = tmp_path_factory.mktemp("runs") / "tuned"
    given = ("--dataset", f"text:{texts}", "--init-from", base, "--new-head", "--context", 8)
    more = ("--epochs", 6, "--lr", 2, "--momentum", 0.9, "--clip", 0.5, "--seed", 4)
    result = invoke("run", "fpd", *given, *FEW, *more, "--out", path)
    assert result.exit_code == 0, result.output
    return path


def test_it_learns_and_its_embeddings_stay(tuned: Path, base: Path):
    summary = RunFolder(tuned).summary()
    assert summary["test_accuracy"] > 0.9
    assert summary["dimensions"] == 40
    config = RunFolder(tuned).read_config()
    assert (config.task, config.model, config.architecture) == ("text", "bert", str(base))
    kept = load_file(base / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(final_arrays(tuned)["params.embeddings.words"], kept)


@pytest.mark.parametrize("numbers", ["float32", "bfloat16", "int8"])
def test_an_adapter_rebuilds_the_weights_bit_for_bit(
    cli: Cli, tuned: Path, tmp_path: Path, numbers: str
):
    small, large = tmp_path / "small.safetensors", tmp_path / "large.safetensors"
    assert cli("export", tuned, "--out", small, "--numbers", numbers).exit_code == 0
    assert small.stat().st_size < 1100 + 40 * 4
    assert str(tuned.parent.parent) not in small.read_bytes().decode("latin1")
    made = cli("apply", small, "--out", large)
    assert "bit for bit" in made.output
    step = 0.02 if numbers == "int8" else 0.01 if numbers == "bfloat16" else 1e-5
    whole, held = load_file(large), final_arrays(tuned)
    for name in ("layers.0.query.weight", "head.weight"):
        gap = np.abs(whole[name] - held[f"params.{name}"]).max()
        assert gap < step * np.abs(whole[name]).max()
    figures = library.evaluate(RunFolder(tuned), file=large)
    assert abs(figures["accuracy"] - library.evaluate(RunFolder(tuned))["accuracy"]) < 0.06


def test_adapters_are_switched_on_one_base(cli: Cli, tuned: Path, tmp_path: Path):
    file = tmp_path / "a.safetensors"
    assert cli("export", tuned, "--out", file).exit_code == 0
    trainer = at_its_start(RunFolder(tuned), None)
    model = trainer.model(trainer.weights)
    adapter = subspace.load_adapter(file, model)
    changed = adapter.on(model)
    assert changed.embeddings.words is model.embeddings.words
    assert changed.layers[1].narrow.weight is model.layers[1].narrow.weight
    held = final_arrays(tuned)
    np.testing.assert_allclose(changed.head.weight, held["params.head.weight"], atol=1e-5)
    assert not np.array_equal(changed.layers[0].query.weight, model.layers[0].query.weight)
    tokens = trainer.dataset.test.inputs[:5]
    assert np.isfinite(jax.vmap(changed)(tokens)).all()
    with pytest.raises(subspace.InvalidInput, match="isn't what"):
        subspace.load_adapter(file, changed)


def test_it_resumes_and_goes_on(cli: Cli, tuned: Path, tmp_path: Path):
    out = ("--out", tmp_path / "on")
    more = ("--epochs", 1, "--lr", 0.1, "--space", "xs", "--rank", 2, "--dim", 10)
    first = cli("run", "fpd", "--from", tuned, *more, *out)
    assert first.exit_code == 0, first.output
    assert RunFolder(tmp_path / "on").read_config().tokenizer == "bytes"
    assert cli("run", "fpd", *out, "--resume", "--epochs", 2).exit_code == 0
    small, large = tmp_path / "on.safetensors", tmp_path / "whole.safetensors"
    made = cli("export", tmp_path / "on", "--out", small)
    assert made.exit_code == 0, made.output
    assert "bit for bit" in cli("apply", small, "--base", tuned, "--out", large).output
    before = library.saved(RunFolder(tuned))
    model = before.trainer.model(before.weights)
    tuned_twice = subspace.load_adapter(small, model).on(model)
    np.testing.assert_array_equal(tuned_twice.head.weight, load_file(large)["head.weight"])


def test_an_architecture_alone_starts_afresh(cli: Cli, texts: Path, base: Path, tmp_path: Path):
    given = ("--dataset", f"text:{texts}", "--context", 8, "--epochs", 1, "--lr", 0.1)
    made = cli("run", "sgd", *given, "--architecture", base, "--out", tmp_path / "a")
    assert made.exit_code == 0, made.output
    words = final_arrays(tmp_path / "a")["params.embeddings.words"]
    assert words.shape == (257, 8)
    assert np.abs(words).max() < 0.5


def test_what_is_frozen_is_no_dimension(cli: Cli, texts: Path, base: Path, tmp_path: Path):
    given = ("--dataset", f"text:{texts}", "--epochs", 1, "--init-from", base, "--new-head")
    result = cli(
        "run", "sgd", *given, "--freeze", "embeddings.*", "--out", tmp_path / "a", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    embeddings = (257 + 32 + 2 + 2) * 8  # words, positions, types; scale and shift of their norm
    assert found["dimensions"] == found["parameters"] - embeddings


def test_what_can_not_be_used_is_one_line(cli: Cli, texts: Path, base: Path, tmp_path: Path):
    data = ("--dataset", f"text:{texts}", "--epochs", 1)
    start = (*data, "--init-from", base)

    def refused(flag: str, *words: object) -> None:
        check(cli("run", *words, "--out", tmp_path / "x"), flag)

    refused("--init-from", "fpd", *start)  # three classes to two
    refused("--freeze", "sgd", *start, "--new-head", "--freeze", "nothing.*")
    refused("--freeze", "sgd", *start, "--new-head", "--freeze", "*")
    refused("--freeze", "hylo", *start, "--new-head", "--freeze", "embeddings.*")
    refused("--rank", "fpd", *data, "--rank", 3)
    refused("--compartments", "fpd", *data, "--space", "factored", "--compartments", "layer")
    refused("--targets", "fpd", *start, "--new-head", "--space", "xs", "--targets", "odd*")
    refused("--exchange", "rbd", *data, "--space", "factored", "--exchange", "independent")
    refused("--recent", "rbd", *data, "--space", "factored", "--recent", 2)
    refused("--momentum", "sgd", *data, "--optimizer", "adam", "--momentum", 0.5)
    refused("--optimizer", "sgd", *data, "--optimizer", "adamm")
    refused("--clip", "sgd", *data, "--clip", 0)
    refused("--tokenizer", "sgd", *data, "--tokenizer", tmp_path)
    refused("--tokenizer", "sgd", "--tokenizer", tmp_path)
    refused("--architecture", "sgd", *data, "--architecture", tmp_path / "none")
    refused("--pooling", "sgd", *data, "--pooling", "max")
    refused("--new-head", "sgd", *data, "--new-head")
    refused("--model", "sgd", *data, "--model", "cnn")
    refused("--dataset", "sgd", "--task", "text")
    assert not (tmp_path / "x").exists()


def test_the_example_goes_from_weights_to_an_adapter(texts: Path, base: Path, capsys):
    spec = importlib.util.spec_from_file_location("finetune", EXAMPLES / "finetune.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with jax.numpy_dtype_promotion("standard"):  # of Adam's own
        example.main(str(texts), str(base), "bytes", 1, dim=50)
    said = capsys.readouterr().out
    assert "bytes for 3" in said
    assert "classes of two questions: [" in said


def test_weights_from_elsewhere_are_measured_without_a_run(
    cli: Cli, texts: Path, base: Path, tuned: Path, tmp_path: Path
):
    given = ("--init-from", base, "--dataset", f"text:{texts}")
    check(cli("evaluate", *given), "--init-from", "--new-head")
    check(cli("evaluate", tuned, *given), "--init-from", "leave")
    check(cli("evaluate"), "RUN")
    whole = tmp_path / "whole.safetensors"
    assert cli("export", tuned, "--whole", "--out", whole).exit_code == 0
    check(cli("evaluate", "--init-from", whole, "--dataset", f"text:{texts}"), "--init-from")


def test_images_are_measured_without_a_run(cli: Cli, straight: Path, tmp_path: Path):
    whole = tmp_path / "whole.safetensors"
    assert cli("export", straight, "--whole", "--out", whole).exit_code == 0
    of_run = json.loads(cli("evaluate", straight, "--json").stdout)
    alone = json.loads(cli("evaluate", "--init-from", whole, "--json").stdout)
    assert alone["accuracy"] == of_run["accuracy"]
    assert "accuracy" in cli("evaluate", "--init-from", whole).stdout
