"""The code in the documentation runs, in order, as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from subspace import data, models, run
from subspace.basis import BASES
from subspace.errors import InvalidInput
from subspace.methods import METHODS
from subspace.tasks import TASKS

TABLES = (BASES, models.MODELS, data.EMBEDDED, METHODS, TASKS)
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(autouse=True)
def registries(monkeypatch, tmp_path):
    """What a page registers is forgotten after it, and its files lie elsewhere."""
    monkeypatch.chdir(tmp_path)
    for table in TABLES:
        for name, entry in list(table.items()):
            monkeypatch.setitem(table, name, entry)
    before = [(table, set(table)) for table in TABLES]
    yield
    for table, names in before:
        for name in set(table) - names:
            del table[name]


@pytest.mark.parametrize(
    "name",
    [
        *("your_own_basis.md", "your_own_model_and_data.md", "your_own_method.md"),
        *("from_python.md", "sharded.md", "dldr.md", "adapters.md"),
        *("index.md", "slow_links.md"),
    ],
)
def test_a_page(name: str, capsys, monkeypatch):
    if name == "from_python.md":
        pytest.importorskip("flax")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    assert blocks
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where dataclasses look for their names
    adam = name == "adapters.md"  # which promotes types itself
    with jax.numpy_dtype_promotion("standard" if adam else "strict"):
        for block in blocks:
            exec(compile(block, name, "exec"), module.__dict__)
    if "model" in name:
        assert float(re.findall(r": ([\d.]+)%", capsys.readouterr().out)[0]) > 80


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (np.zeros((4, 2, 2, 1)), np.zeros(4, int), "uint8"),
        (np.zeros((4, 2, 2), np.uint8), np.zeros(4, int), "uint8"),
        (np.zeros((4, 2, 2, 1), np.uint8), np.zeros(3, int), "4 whole numbers"),
        (np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4), "whole numbers"),
        (np.zeros((4, 2, 2, 1), np.uint8), np.full(4, 3), "from 0 to 2"),
    ],
)
def test_data_that_do_not_fit(images, labels, expected):
    split = data.Split(images, labels)
    data.EMBEDDED["mine"] = data.DatasetEntry("mine", 3, lambda: (split, split))
    with pytest.raises(InvalidInput, match=expected):
        data.load("mine")


def test_links_lead_somewhere():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_a_registered_model_is_run(tmp_path: Path):
    models.MODELS["again"] = models.ModelEntry("fc by another name", models.FC)
    config, folder = run.request(
        {"method": "sgd", "model": "again", "epochs": 1, "batch_size": 256}, tmp_path / "run"
    )
    assert run.execute(config, folder)["parameters"] == 9610
