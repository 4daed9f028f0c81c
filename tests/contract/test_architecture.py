"""The packages that ship, public names, and what `import subspace` costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import subspace

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    *("tensorflow_datasets", "tensorflow", "orbax", "matplotlib", "sklearn", "typer", "rich"),
    "PIL",
    "tensorboardX",
]


def test_the_packages_that_ship_are_those_in_the_tree():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    places = setup["package-dir"]
    found = set()
    for name, folder in places.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((name, *parts)))
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path} is in no package"
    assert set(setup["packages"]) == found


def test_import_subspace_leaves_heavy_libraries_alone():
    code = f"import sys, subspace; print(*[m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("name", subspace.__all__)
def test_public_names_are_documented(name):
    thing = getattr(subspace, name)
    if name == "Coords":  # an alias of dict, documented in the source
        return
    assert thing.__doc__, f"{name} has no docstring"
    assert not thing.__doc__.startswith(f"{name}("), f"{name} has only a generated docstring"


def test_all_is_sorted_and_complete():
    assert list(subspace.__all__) == sorted(subspace.__all__)
    public = {name for name in vars(subspace) if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(subspace, name), type(subspace))}
    assert public - modules - {"annotations"} <= set(subspace.__all__)
