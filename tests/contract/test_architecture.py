"""The one-way flow of imports, the packages that ship, and what `import subspace` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import subspace

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "subspace"
FOUNDATIONS = {
    *("errors", "core", "partition", "random", "probe", "exchange", "transform", "methods"),
    *("joint", "recent", "distributed", "capture", "lowrank", "curvature", "remember"),
    *("switch", "hylo", "inlaw"),
    *("trajectory", "bfgs", "linesearch", "newton", "projected", "registry"),
}
"""Modules that know nothing of data, runs or files; `basis` and `models` are such packages."""
OUTER = {
    *("config", "defaults", "data", "data_cache", "tfds_find", "tfds_prepare", "tfds_source"),
    *("augment", "step", "trainer", "loop", "run", "report", "folder", "checkpoint"),
    *("clock", "phase", "stage", "snapshots", "source", "watch"),
    *("mesh", "coordinate_log", "replay", "export", "weights_file", "stream", "tfds_stream"),
    *("noise", "diagnose", "landscape", "study", "tuned", "tensorboard"),
}
HEAVY = [
    *("tensorflow_datasets", "tensorflow", "orbax", "matplotlib", "sklearn", "typer", "rich"),
    "PIL",
    "tensorboardX",
]


def imported(path):
    """The modules of `subspace` that a file imports anywhere, by full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foundations():
    files = [PACKAGE / f"{name}.py" for name in sorted(FOUNDATIONS)]
    files += [*PACKAGE.glob("basis/*.py"), *PACKAGE.glob("models/*.py")]
    return [path for path in files if path.exists()]


@pytest.mark.parametrize("path", foundations(), ids=lambda path: path.stem)
def test_foundations_import_nothing_of_runs(path):
    banned = {f"subspace.{name}" for name in OUTER} | {"subspace_cli"}
    assert not banned & set(imported(path))


def test_every_module_is_a_foundation_or_not():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert modules - FOUNDATIONS - OUTER == set(), "say in this test where it belongs"


def test_the_library_does_not_import_the_command_line():
    for path in PACKAGE.rglob("*.py"):
        assert not any(name.split(".")[0] in ("subspace_cli", "typer") for name in imported(path))


def test_a_basis_knows_no_pytrees_or_optimizers():
    for path in PACKAGE.glob("basis/*.py"):
        known = {"subspace.core", "subspace.errors", "subspace.basis"}
        for name in imported(path):
            module = ".".join(name.split(".")[:2])
            assert name.split(".")[0] not in ("optax", "subspace") or module in known, name


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
