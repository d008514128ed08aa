"""Machines that only run models have neither PyTorch nor ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.files import ASSETS
from yolox_deploy.packages import install_line

HIDING = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        hidden = name.split(".")[0] in HIDDEN
        return None if hidden else self.finder.find_spec(name, *rest)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""


def without(*packages: str) -> str:
    """Lines that hide PyTorch, what exports with it, and some more packages."""
    return f"HIDDEN = {('torch', 'onnx', 'onnxsim', 'onnxscript', *packages)}\n{HIDING}"


WITHOUT_TORCH = without()


def test_export_says_what_to_install(process: Any, nano_pth: Path, tmp_path: Path) -> None:
    found = process(
        "yolox-export", "--model", nano_pth, "--output", tmp_path / "out", before=WITHOUT_TORCH
    )
    assert found.code == 4
    assert found.err == (
        f"yolox-export: exporting needs torch and onnx: {install_line('export')}\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        f"yolox-{name}"
        for name in ["export", "detect", "doctor", "eval", "bench", "verify", "compare", "data"]
    ],
)
def test_the_help_of_every_command_needs_nothing(name: str, process: Any) -> None:
    found = process(name, "--help", before=WITHOUT_TORCH)
    assert found.code == 0, found.err


def test_an_artifact_is_proven(process: Any) -> None:
    found = process("yolox-verify", ASSETS / "digits_nano.onnx", "-q", before=WITHOUT_TORCH)
    assert (found.code, found.err) == (0, "")
    assert "passed: 39 detections agree on 5 pictures" in found.out


def test_an_onnx_file_is_run_and_described(
    process: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = process(
        *("yolox-detect", dog_path, "--model", onnx_nano, "--output", out), before=WITHOUT_TORCH
    )
    assert found.code == 0, found.err
    assert "dog 0.855" in found.out
    assert (out / "dog.jpg").is_file()
    found = process("yolox-export", "--describe", onnx_nano, before=WITHOUT_TORCH)
    assert found.code == 0, found.err
    assert "416 high x 416 wide" in found.out


@pytest.mark.parametrize(
    ("hidden", "backend"),
    [(("openvino", "ncnn"), "onnxruntime"), (("onnxruntime", "ncnn"), "openvino")],
    ids=["onnxruntime", "openvino"],
)
def test_one_engine_is_enough_to_detect_with_the_model_of_the_package(
    hidden: tuple[str, ...], backend: str, process: Any, tmp_path: Path
) -> None:
    picture, out = ASSETS / "digits_2.jpg", tmp_path / "out"
    found = process("yolox-detect", picture, "--output", out, before=without(*hidden))
    assert found.code == 0, found.err
    assert sorted(line[0] for line in found.out.splitlines()[:10]) == list("0155577889")
    assert f"{backend}: " in found.out
    assert (out / picture.name).is_file()


def test_without_any_engine_the_first_message_is_the_pip_line(process: Any) -> None:
    hidden = without("onnxruntime", "openvino", "ncnn")
    found = process("yolox-detect", ASSETS / "digits_1.jpg", before=hidden)
    assert found.code == 4
    assert install_line("onnxruntime") in found.err
    assert len(found.err.splitlines()) == 1


def test_a_checkpoint_is_answered_with_the_pip_line(
    process: Any, nano_pth: Path, dog_path: Path
) -> None:
    found = process("yolox-detect", dog_path, "--model", nano_pth, before=WITHOUT_TORCH)
    assert found.code == 4
    assert install_line("export") in found.err
    assert len(found.err.splitlines()) == 1
