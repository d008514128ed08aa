"""What is left where an engine cannot be built, and what a GPU's builder is asked for."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from yolox_deploy.export import ExportOptions, NotBuiltError, export_model
from yolox_deploy.export.targets.tensorrt import EngineSettings, target
from yolox_deploy.export.targets.tensorrt.builder import BuildRequest
from yolox_deploy.export.targets.tensorrt.trtexec import trtexec_line
from yolox_deploy.packages import install_line
from yolox_deploy.runtimes.gpu import Gpu, why_no_gpu
from yolox_deploy.runtimes.tensorrt.sidecar import read_sidecar
from yolox_deploy.spec import ModelSpec, SpecHints

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))

HAS_TENSORRT = not why_no_gpu() and importlib.util.find_spec("tensorrt") is not None
no_tensorrt = pytest.mark.skipif(HAS_TENSORRT, reason="here TensorRT builds engines")


@no_tensorrt
def test_without_tensorrt_the_onnx_and_the_command_are_there(
    checkpoint_of: Any, tmp_path: Path
) -> None:
    settings = {"workspace": 512}
    options = ExportOptions(hints=SMALL, fp16=True, dynamic=True, settings=settings)
    with pytest.raises(NotBuiltError) as caught:
        export_model(checkpoint_of(1), ["trt"], options, tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "\n" not in text
    assert install_line("tensorrt") in text
    assert ("no NVIDIA driver" in text) == ("no NVIDIA driver" in why_no_gpu())
    line = (
        "trtexec --onnx=nano_1_fp16.onnx --saveEngine=nano_1_fp16.engine --stronglyTyped "
        "--minShapes=images:1x3x64x64 --optShapes=images:4x3x64x64 "
        "--maxShapes=images:8x3x64x64 --memPoolSize=workspace:512"
    )
    assert line in text
    assert line in (tmp_path / "nano_1_fp16.trtexec.txt").read_text().splitlines()
    (result,) = caught.value.results
    assert result.verification.status == "passed"
    assert onnx.load(result.path).graph.input[0].name == "images"
    sidecar = read_sidecar(tmp_path / "nano_1_fp16.engine")
    assert sidecar.engine is None
    assert sidecar.spec.verification is not None
    assert sidecar.spec.verification["executed"] is False
    assert {path.name for path in tmp_path.iterdir()} == {
        "nano_1_fp16.onnx",
        "nano_1_fp16.engine.json",
        "nano_1_fp16.trtexec.txt",
    }


@no_tensorrt
def test_without_tensorrt_the_other_targets_and_an_older_engine_stay(
    checkpoint_of: Any, tmp_path: Path
) -> None:
    (tmp_path / "nano_1.engine").write_bytes(b"built elsewhere")
    (tmp_path / "nano_1.engine.json").write_text("its own")
    options = ExportOptions(hints=SMALL, verify=False)
    with pytest.raises(NotBuiltError, match="not verified") as caught:
        export_model(checkpoint_of(1), ["ncnn", "trt", "onnx"], options, tmp_path)
    assert [result.target for result in caught.value.results] == ["ncnn", "onnx"]
    assert "--noTF32" in str(caught.value)
    assert (tmp_path / "nano_1.engine.json").read_text() == "its own"


def test_the_command_for_the_target_machine_survives_a_shell(nano_spec: ModelSpec) -> None:
    settings = EngineSettings(hardware_compatible=True, version_compatible=True)
    spec = replace(nano_spec, batch=2, precision="fp16")
    line = trtexec_line("with blank.onnx", "with blank.engine", spec, settings)
    assert shlex.split(line) == [
        "trtexec",
        "--onnx=with blank.onnx",
        "--saveEngine=with blank.engine",
        "--stronglyTyped",
        "--hardwareCompatibilityLevel=ampere+",
        "--versionCompatible",
    ]


GPU = Gpu(0, "NVIDIA L4", (8, 9), 23 << 30, "13.0")


def test_a_gpu_builds_within_its_free_memory_and_is_recorded(
    checkpoint_of: Any, bindings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is the recorded one: this shows what is asked of TensorRT, not what it does."""
    asked: list[BuildRequest] = []

    def build(trt: Any, graph: Any, request: BuildRequest, advance: Any) -> bytes:
        asked.append(request)
        return b"plan"

    monkeypatch.setitem(sys.modules, "tensorrt", bindings.replay("10.16.1.11"))
    monkeypatch.setattr(target, "build_engine", build)
    monkeypatch.setattr(target, "missing_gpu", lambda: None)
    monkeypatch.setattr(target, "find_gpu", lambda: GPU)
    monkeypatch.setattr(target, "free_memory", lambda: 20 << 30)
    settings = {"hardware_compatible": True}
    options = ExportOptions(hints=SMALL, fp16=True, batch=4, verify=False, settings=settings)
    (result,) = export_model(checkpoint_of(1), ["trt"], options, tmp_path / "out")
    (request,) = asked
    assert request.workspace == 15 << 30
    assert request.precision == "fp16"
    assert request.profile is None
    assert request.timing_cache is not None
    assert "L4" in request.timing_cache.name
    record = read_sidecar(result.path).engine
    assert record is not None
    assert (record.gpu, record.compute_capability, record.driver) == (
        "NVIDIA L4",
        (8, 9),
        "13.0",
    )
    assert (record.batch, record.hardware_compatible) == ((4, 4, 4), True)
    assert result.path.name == "nano_1_fp16.engine"
