"""Hostile input, drawn by hypothesis: command lines, and files with damaged bytes.

Short with fixed draws in `test_fuzz.py`, for as long as one likes in ``benchmarks/fuzz.py``.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers import random_images, write_tfds
from hypothesis import strategies as st
from safetensors.numpy import load_file
from typer.testing import CliRunner

from subspace import data, files
from subspace.errors import InvalidInput
from subspace.methods import METHODS
from subspace.store import tuned
from subspace.store.samples import read_rows
from subspace_cli import options  # pyright: ignore[reportMissingImports]
from subspace_cli.main import app  # pyright: ignore[reportMissingImports]

EXIT_CODES = {0, 1, 2, 3}
SMALL = ("--epochs", "2", "--batch-size", "512", "--dim", "5", "--lr", "0.5")


class Told(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        return self.code != 0


def call(*words: object) -> Told:
    """Runs a command in this process.

    Raises:
        AssertionError: its end isn't one that the exit-code table knows, with one line.
    """
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="subspace")
    said = result.output[-2000:]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{words}: {type(result.exception).__name__}") from result.exception
    assert "Traceback" not in said, f"{words}: {said}"
    assert result.exit_code in EXIT_CODES, f"{words}: {result.exit_code} {said}"
    if result.exit_code == 2:
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, f"{words}: {result.stderr}"
        assert result.stderr.splitlines()[-1] == errors[0], f"{words}: {result.stderr}"
    return Told(result.exit_code, result.stdout, result.stderr)


# Command lines


_ODD = """0 1 2 5 -1 0.5 1e-320 1e39 nan inf -inf 1e3 1_0 ٣ 2147483648 none rbd fpd hadamard
countsketch leaf layer even:3 even:0 strong paper digits fc mean split"""
_NUMBERS = st.one_of(
    st.sampled_from(_ODD.split()[:16]), st.integers(-10, 10**30).map(str), st.floats().map(str)
)
_WORDS = st.one_of(
    st.sampled_from(_ODD.split()),
    st.text(max_size=12).filter(lambda text: not text.startswith("-") and "\0" not in text),
)
_LONG = ("--epochs", "--workers", "--out")  # of which something long or nothing new would come


def _options() -> Any:
    """Any option of a run, with a value that it may not like."""
    kinds: list[Any] = [st.tuples(st.just("--then"), _WORDS), st.tuples(st.just("--resume"))]
    for name, declared in options.declared_fields().items():
        field = options.field_of(name, declared)
        if field.is_switch:
            kinds += [st.tuples(st.just(field.flag)), st.tuples(st.just(field.off))]
        elif field.flag not in _LONG:
            kinds.append(st.tuples(st.just(field.flag), _NUMBERS if field.is_number else _WORDS))
    return st.one_of(kinds)


@st.composite
def runs(draw: Any) -> list[str]:
    """A ``subspace run`` of a few steps at most, if it runs at all."""
    given = [
        word for option in draw(st.lists(_options(), min_size=1, max_size=4)) for word in option
    ]
    return ["run", draw(st.sampled_from([*METHODS, "nonsense"])), "--epochs", "1", *given]


_STUDIES = {
    "tune": ("--low", "--high", "--epochs", "--strategy"),
    "dimension": ("--target", "--seeds", "--low", "--precision", "--max-runs"),
    "reproduce": ("--seeds", "--epochs", "--budget", "--datasets", "--models"),
    "probe": ("--directions", "--radius", "--examples", "--dims", "--seed", "--bases"),
    "replay": ("--step", "--out"),
    "export": ("--step", "--out"),
    "evaluate": ("--split", "--weights"),
    "compare": ("--plot",),
    "report": ("--out",),
    "apply": ("--base", "--out"),
    "launch": ("--processes", "--devices-per-process"),
}


@st.composite
def others(draw: Any) -> list[str]:
    """Another command, about a run that isn't there, so that nothing long begins."""
    name = draw(st.sampled_from(sorted(_STUDIES)))
    given = draw(st.lists(st.sampled_from(_STUDIES[name]), min_size=1, max_size=3))
    words = [word for flag in given for word in (flag, draw(st.one_of(_NUMBERS, _WORDS)))]
    return [name, "nowhere", *(["nowhere"] if name == "probe" else []), *words]


# Files


class Victim(NamedTuple):
    """A file to be damaged, and what reads it: the answer, or None where it is refused or told."""

    file: Path
    answer: Callable[[], Any]


def make_runs(folder: Path) -> None:
    """The files that are to be damaged, made once."""
    with _within(folder):
        made = [
            call("run", "rbd", *SMALL, "--log-coordinates", "--out", "rbd"),
            call("run", "fpd", *SMALL, "--out", "fpd"),
            call("run", "dldr", "--epochs", 2, "--batch-size", 512, "--out", "dldr"),
            call("export", "fpd", "--out", "fpd.safetensors"),
            call("export", "fpd", "--whole", "--out", "whole.safetensors"),
        ]
        assert not any(told.refused for told in made), made
        settings = {"phase": {"method": "sgd"}}
        entry = {"settings": settings, "version": "1", "learning_rate": 0.25}
        files.write_record(Path("tuned.json"), {"entries": [entry]})
        rng = np.random.default_rng(0)
        images = random_images(40), random_images(10, seed=1)
        write_tfds(Path("tfds"), "toy", dict(zip(("train", "test"), images, strict=True)))
        np.savez("own.npz", x=rng.normal(size=(40, 3)), y=rng.integers(0, 2, 40))


def victims(folder: Path) -> list[Victim]:
    """All kinds of files, each with a command that depends on it alone."""
    size = 9610
    found = [
        Victim(folder / "rbd/config.json", lambda: said("evaluate", "rbd", "--json")),
        Victim(folder / "rbd/summary.json", lambda: said("compare", "rbd", "--json")),
        Victim(folder / "rbd/metrics.jsonl", lambda: said("compare", "rbd", "--plot", "p.png")),
        Victim(
            folder / "rbd/coordinates-1.log", lambda: said("replay", "rbd", "--verify", "--json")
        ),
        Victim(folder / "fpd.safetensors", lambda: applied("fpd.safetensors")),
        Victim(
            folder / "whole.safetensors",
            lambda: said("evaluate", "fpd", "--weights", "whole.safetensors", "--json"),
        ),
        Victim(folder / "dldr/trajectory-1.f32", lambda: rows("dldr/trajectory-1.f32", size)),
        Victim(folder / "dldr/trajectory-1.f32.crc32", lambda: rows("dldr/trajectory-1.f32", size)),
        Victim(folder / "tuned.json", rates),
        Victim(
            folder / "own.npz",
            lambda: said(
                *("run", "sgd", "--task", "classification", "--dataset", "npz:own.npz"),
                *("--epochs", 1, "--batch-size", 8, "--out", "own", "--json"),
            ),
        ),
    ]
    with _cache(folder):
        assert pictures(folder) is not None
    found += [
        Victim(file, lambda: pictures(folder))
        for part in ("tfds", "cache")
        for file in sorted((folder / part).rglob("*"))
        if file.is_file()
    ]
    checkpoint = max((folder / "rbd/checkpoints").iterdir(), key=lambda path: int(path.name))
    found += [
        Victim(file, lambda: said("evaluate", "rbd", "--json"))
        for file in sorted(checkpoint.rglob("*"))
        if file.is_file()
    ]
    return found


def said(*words: object) -> Any:
    """What a command answers, without what depends on the clock."""
    shutil.rmtree("own", ignore_errors=True)
    told = call(*words)
    if told.refused or "Warning: " in told.err:
        return None
    return re.sub(r'"(seconds|examples_per_second)": [^,}]*', "", told.out)


def applied(file: str) -> Any:
    """The weights that a file of coordinates makes."""
    Path("made.safetensors").unlink(missing_ok=True)
    told = call("apply", file, "--out", "made.safetensors")
    if told.refused:
        return None
    return {name: array.tobytes() for name, array in load_file("made.safetensors").items()}


def rows(file: str, size: int) -> Any:
    """A trajectory."""
    try:
        return read_rows(Path(file), size).tobytes()
    except InvalidInput:
        return None


def rates() -> Any:
    """Tuned learning rates."""
    try:
        return tuned._entries(Path("tuned.json"))
    except InvalidInput:
        return None


def pictures(folder: Path) -> Any:
    """Images and labels of a prepared dataset, from the cache if they are there."""
    with _cache(folder):
        try:
            toy = data.load("toy", data_dir=str(folder / "tfds"), validation=0.0)
        except InvalidInput:
            return None
    parts = (toy.train, toy.test)
    return [np.asarray(x).tobytes() for part in parts for x in (part.inputs, part.targets)]


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("SUBSPACE_CACHE")
    os.environ["SUBSPACE_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.environ.pop("SUBSPACE_CACHE")
        if before is not None:
            os.environ["SUBSPACE_CACHE"] = before


class Edit(NamedTuple):
    """A change of a file's bytes at a fraction of its length."""

    kind: str
    place: float
    content: bytes


_SPECIAL = (b"", b"[" * 100_000, b"{}", b"[]", b"null", b"\0" * 64, b"1e999", b"\x1b[31m", b"NaN")
EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from(("flip", "cut", "insert", "remove", "replace", "append", "repeat")),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(_SPECIAL)),
    ),
    min_size=1,
    max_size=3,
)


def edited(content: bytes, edits: list[Edit]) -> bytes:
    """The bytes after some edits."""
    for kind, place, new in edits:
        at = math.floor(place * len(content))
        before, after = content[:at], content[at:]
        if kind == "flip" and after:
            content = before + bytes([after[0] ^ (new[0] if new else 1)]) + after[1:]
        elif kind == "cut":
            content = before
        elif kind == "insert":
            content = before + new + after
        elif kind == "remove":
            content = before + after[max(1, len(new)) :]
        elif kind == "replace":
            content = new
        elif kind == "append":
            content += new
        else:
            content = before + after[:100] + after
    return content


def check_damaged(folder: Path, victim: Victim, good: Any, edits: list[Edit]) -> str:
    """A damaged file gives the same answer, or is refused or told of: which of the two.

    Raises:
        AssertionError: it gives another answer, or ends in something else than one line.
    """
    whole = victim.file.read_bytes()
    try:
        victim.file.write_bytes(edited(whole, edits))
        with _within(folder):
            found = victim.answer()
        assert found is None or found == good, f"{victim.file.name}: another answer after {edits}"
        return "refused" if found is None else "same"
    finally:
        victim.file.write_bytes(whole)


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def good_answers(folder: Path) -> list[tuple[Victim, Any]]:
    """Each file, and what it answers while it is whole."""
    with _within(folder):
        found = [(victim, victim.answer()) for victim in victims(folder)]
    for victim, answer in found:
        assert answer is not None, victim.file
    return found


def overwrites_nothing(folder: Path, words: list[str]) -> Told:
    """Runs a command where there is a file of somebody's, which has to stay.

    Raises:
        AssertionError: it doesn't, or as `call`.
    """
    precious = folder / "nowhere"
    precious.write_text(json.dumps({"mine": 1}))
    with _within(folder):
        told = call(*words)
    assert precious.read_text() == json.dumps({"mine": 1}), words
    return told
