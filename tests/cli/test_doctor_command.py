"""``yolox-doctor``: what runs here, and the line that installs the rest."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

import yolox_deploy
from yolox_deploy.packages import install_line
from yolox_deploy.runtimes import BACKENDS

# Hides a package as if it had never been installed.
HIDING = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in {names} else self.finder.find_spec(name, *rest)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""


def test_json_names_every_backend_with_its_version(command: Any) -> None:
    found = command("yolox-doctor", "--json")
    assert (found.code, found.err) == (0, "")
    content = json.loads(found.out)
    assert content["yolox-deploy"] == yolox_deploy.__version__
    assert content["processors"] >= 1
    assert Path(content["cache"]).name == "cache"
    rows = {row["name"]: row for row in content["backends"]}
    assert list(rows) == list(BACKENDS)
    for name, row in rows.items():
        assert row["opens"] == list(BACKENDS[name].suffixes)
        if row["ok"]:
            assert row["version"] == importlib.metadata.version(BACKENDS[name].package)
        else:
            assert "pip install" in row["reason"] or "no NVIDIA driver here" in row["reason"]
    packages = {row["name"]: row["version"] for row in content["packages"]}
    assert packages["torch"] == importlib.metadata.version("torch")


def test_the_table_says_the_same(command: Any) -> None:
    found = command("yolox-doctor", "--full")
    assert found.code == 0
    for name, row in BACKENDS.items():
        # A package of the same name may stand in the table below.
        line = next(line for line in found.out.splitlines() if line.startswith(f"{name} "))
        if row.availability().ok:
            assert line.split()[1 : len(row.suffixes) + 2] == [*row.suffixes, "yes"]
    assert "pycocotools" in found.out


def test_an_artifact_is_told_with_what_runs_it_and_what_is_proven(
    command: Any, onnx_nano: Path, tiny_pth: Path
) -> None:
    found = command("yolox-doctor", "--json", "--model", onnx_nano)
    (model,) = json.loads(found.out)["models"]
    assert model == {
        "model": str(onnx_nano),
        "runs on": "onnxruntime, fp32",
        "verification": "not run",
        "what to do": f"yolox-export --verify-artifact {onnx_nano} --model CHECKPOINT",
    }
    found = command("yolox-doctor", "--model", tiny_pth.parent / "missing.onnx")
    assert found.code == 3
    assert "missing.onnx" in found.err


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_engine_is_told_with_its_pip_line(name: str, process: Any) -> None:
    row = BACKENDS[name]
    found = process("yolox-doctor", "--json", before=HIDING.format(names={row.package}))
    assert found.code == 0, found.err
    (backend,) = (b for b in json.loads(found.out)["backends"] if b["name"] == name)
    assert backend["ok"] is False
    assert backend["version"] is None
    assert install_line(row.extra) in backend["reason"]


def test_the_short_form_has_one_line_for_each_missing_extra(process: Any) -> None:
    found = process("yolox-doctor", before=HIDING.format(names={"scipy", "psutil"}))
    assert found.code == 0, found.err
    assert f"  scipy, psutil (for benchmarks): {install_line('bench')}" in found.out


def test_an_engine_that_cannot_be_imported_is_told_with_the_reason(
    process: Any, tmp_path: Path
) -> None:
    (tmp_path / "ncnn.py").write_text("raise ImportError('libvulkan.so.1:\\nnot found')")
    found = process("yolox-doctor", before=f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
    assert found.code == 0
    (line,) = (line for line in found.out.splitlines() if line.startswith("ncnn "))
    assert "no" in line.split()
    assert "libvulkan.so.1: not found" in line
    assert "pip install --force-reinstall ncnn" in line


def test_any_distribution_of_opencv_will_do(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers have opencv-python-headless, which is not called opencv-python."""
    version = importlib.metadata.version

    def headless(name: str) -> str:
        if name == "opencv-python":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", headless)
    found = command("yolox-doctor", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["opencv"][0].isdigit()
