"""The command line in process, and finished runs to look at, to copy and to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import PNG, TINY, Cli, invoke


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`invoke` in an empty current directory, ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture(autouse=True)
def _no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Learning curves are begun and not drawn, which takes a fifth of all these tests' time.

    Tests marked ``draws`` do draw, as do fixtures that several tests share, and studies.
    """
    if request.node.get_closest_marker("draws") is None:
        name = "subspace.run.pictures.write_figure"
        monkeypatch.setattr(name, lambda figure, file, title: file.write_bytes(PNG))


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "straight"
    result = invoke("run", "rbd", *TINY, "--epochs", 3, "--out", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a run, to do with it as one likes."""

    def copied(path: Path) -> Path:
        return Path(shutil.copytree(path, tmp_path / "copies" / path.name))

    return copied
