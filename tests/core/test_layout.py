"""What keeps the tree readable: no circles, short files, small folders."""

from __future__ import annotations

import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("yolox_deploy", "tests", "tools")
MOST_LINES, MOST_MODULES = 400, 15


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_imports_form_a_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING count, and so do those by a package."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("yolox_deploy", cache_dir=None)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in files()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_folders_are_small() -> None:
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in files())
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_every_module_without_engines_is_named_in_the_contract() -> None:
    """A layer below the models that the contract forgets could import PyTorch."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (row["layers"] for row in tool["contracts"] if row["type"] == "layers")
    (core,) = (row["source_modules"] for row in tool["contracts"] if row["type"] == "forbidden")
    names = [name.strip() for layer in layers for name in layer.split("|")]
    below = names[names.index("models") + 1 :]
    assert sorted(core) == sorted(f"yolox_deploy.{name}" for name in below)
