"""Machines without a home folder, folders that are gone, names that are no text."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

# As in a container that runs as a user without a name.
NO_HOME = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
for name in ("HOME", "XDG_CACHE_HOME", "YOLOX_DEPLOY_CACHE"): os.environ.pop(name, None)
"""
DELETED = """
import os, tempfile
folder = tempfile.mkdtemp()
os.chdir(folder)
os.rmdir(folder)
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="users and names of POSIX")


def test_without_a_home_folder_only_the_cache_is_missing(
    process: Any, onnx_nano: Path, nano_pth: Path, dog_path: Path
) -> None:
    options = ("--no-draw", "--threads", "1")
    found = process("yolox-detect", dog_path, "--model", onnx_nano, *options, before=NO_HOME)
    assert (found.code, found.err) == (0, "")
    found = process("yolox-detect", dog_path, "--model", nano_pth, *options, before=NO_HOME)
    assert found.code == 7
    assert len(found.err.splitlines()) == 1
    assert "set the environment variable YOLOX_DEPLOY_CACHE" in found.err
    for name in ("yolox-detect", "yolox-export"):
        assert process(name, "--help", before=NO_HOME).code == 0
    found = process("yolox-doctor", "--full", before=NO_HOME)
    assert found.code == 0, found.err
    assert "there is no home folder" in found.out


@pytest.mark.parametrize("name", ["yolox-detect", "yolox-export"])
def test_a_current_folder_that_is_gone_is_told(name: str, process: Any, dog_path: Path) -> None:
    """PyTorch's libraries would end the process."""
    words = (dog_path,) if name == "yolox-detect" else ("--no-verify",)
    found = process(name, *words, before=DELETED)
    assert found.code == 2
    assert found.err == f"{name}: the current folder was deleted: change to one that exists\n"


def test_a_model_whose_name_is_no_utf_8_is_exported_and_run_or_refused(
    command: Any, onnx_nano: Path, tiny_pth: Path, dog_path: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"mod\xe8le")
    checkpoint, artifact = tmp_path / f"{name}.pth", tmp_path / f"{name}.onnx"
    shutil.copy(tiny_pth, checkpoint)
    shutil.copy(onnx_nano, artifact)
    out = tmp_path / "out"
    found = command(
        *("yolox-export", "--model", checkpoint, "--to", "onnx,openvino,ncnn", "--no-verify"),
        *("--output", out),
    )
    assert found.code == 0, found.err
    assert sorted(path.suffix for path in out.iterdir()) == sorted(
        (".bin", ".bin", ".json", ".onnx", ".param", ".xml")
    )
    found = command("yolox-detect", dog_path, "--model", artifact, "--no-draw")
    assert found.code == 3
    assert "onnxruntime cannot open it: its name is not UTF-8: rename it" in found.err
    found = command(
        *("yolox-detect", dog_path, "--model", artifact, "--no-draw", "--backend", "openvino"),
    )
    assert found.code == 0, found.err
