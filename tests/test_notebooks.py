"""The notebooks of examples/ run from top to bottom, and keep no output in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import matplotlib
import pytest

QUICKLY = {"EPOCHS = 8": "EPOCHS = 2", "epochs=25": "epochs=2", "range(50)": "range(5)"}
NOTEBOOKS = sorted(Path(__file__).resolve().parents[1].joinpath("examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path: Path, tmp_path, monkeypatch, capsys):
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    known: dict[str, Any] = {"__name__": "notebook"}
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as by default
        for cell in code:
            assert cell["outputs"] == []
            text = "".join(cell["source"])
            for slowly, quickly in QUICKLY.items():
                text = text.replace(slowly, quickly)
            exec(compile(text, path.name, "exec"), known)
    assert pyplot.get_fignums(), "it draws nothing"
    pyplot.close("all")
    assert capsys.readouterr().out.count("\n") >= 1
