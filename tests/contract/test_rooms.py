"""The order of the house: which package may import which."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "subspace"

FLOORS = (
    ("errors",),
    ("files", "rendezvous"),
    ("options", "distributed", "plots"),
    ("pretrained",),
    ("basis", "models", "data"),
    ("tasks",),
    ("spaces",),
    ("optim",),
    ("natural",),
    ("methods",),
    ("config",),
    ("store",),
    ("train",),
    ("run",),
    ("study",),
)
"""A room imports only from floors before its own."""

FLOOR = {room: place for place, rooms in enumerate(FLOORS) for room in rooms}
FILES = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem in FLOOR
]


def room_of(module):
    return module.split(".")[1]


def imported(path):
    """The modules of `subspace` that a file imports anywhere, by full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            whole = node.module == "subspace"
            names = [f"subspace.{a.name}" for a in node.names] if whole else [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.startswith("subspace."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_from_lower_floors_only(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        room = room_of(name)
        assert room == own or FLOOR[room] < FLOOR[own], f"{path.name} imports {name}"


def test_every_room_has_a_floor():
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    found |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert found == set(FLOOR)


def test_every_room_is_installed():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    found = {path.relative_to(PACKAGE.parent).parent for path in PACKAGE.rglob("__init__.py")}
    named = {".".join(path.parts) for path in found} | {"subspace_cli"}
    assert named == set(project["tool"]["setuptools"]["packages"])


def test_the_library_does_not_import_the_command_line():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"subspace_cli", "typer", "rich"}


def test_a_basis_knows_no_optimizers():
    for path in PACKAGE.glob("basis/*.py"):
        assert "optax" not in path.read_text()


def test_types_are_installed_too():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"] == {"subspace": ["py.typed"]}
    assert (PACKAGE / "py.typed").exists()
