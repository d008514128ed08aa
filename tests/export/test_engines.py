"""Engines of TensorRT-RTX built for real, without a GPU, and what is left where none can be built.

Nothing here runs an engine: that needs a GPU.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from yolox_deploy.errors import ConversionError, DeviceError, UsageError
from yolox_deploy.export import (
    TARGETS,
    EngineNotBuiltError,
    EngineSettings,
    ExportOptions,
    ExportResult,
    artifact,
    export_model,
    targets,
)
from yolox_deploy.export.artifact import target_of, verify_artifact
from yolox_deploy.export.tensorrt import BuildRequest, build_engine, network_flags, trtexec_line
from yolox_deploy.models import ARCHITECTURES
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.base import Opened
from yolox_deploy.runtimes.gpu import Gpu, why_no_gpu
from yolox_deploy.runtimes.tensorrt.log import log_of
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, read_sidecar
from yolox_deploy.spec import ModelSpec, SpecHints

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))
HALF = ExportOptions(fp16=True)
TRAINED = "nano trained"

HAS_TENSORRT = not why_no_gpu() and importlib.util.find_spec("tensorrt") is not None
# As test_targets.py has them, whose exports are shared.
BUILT = [name for name in TARGETS if HAS_TENSORRT or name != "trt"]
no_tensorrt = pytest.mark.skipif(HAS_TENSORRT, reason="here TensorRT builds engines")
no_gpu = pytest.mark.skipif(not why_no_gpu(), reason="here engines run")


@pytest.fixture
def rtx(made_once: Any, nano_pth: Path) -> ExportResult:
    result: ExportResult = made_once(nano_pth, BUILT, HALF)["trt-rtx"]
    return result


def half_weights(model: onnx.ModelProto) -> Iterator[Any]:
    """The weights that are stored in half precision."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            yield numpy_helper.to_array(tensor)


def kinds_of_layers(model: onnx.ModelProto) -> tuple[dict[str, Counter[str]], set[str]]:
    """Count a parsed network's layers by kind and data type; return the types of its ends, too."""
    trt = tensorrt_rtx
    log = log_of(trt)
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model.SerializeToString())
    found: dict[str, Counter[str]] = {}
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        # Exp is the one unary layer of the decoding tail.
        name = layer.type.name if "decode" not in layer.name else f"decode {layer.type.name}"
        found.setdefault(name, Counter())[layer.get_output(0).dtype.name] += 1
    return found, {network.get_input(0).dtype.name, network.get_output(0).dtype.name}


def test_the_sidecar_says_what_was_built_and_that_it_was_not_executed(rtx: ExportResult) -> None:
    sidecar = read_sidecar(rtx.path)
    content = rtx.path.read_bytes()
    record = sidecar.engine
    assert record is not None
    assert record.engine_sha256 == hashlib.sha256(content).hexdigest()
    assert record.engine_bytes == len(content)
    assert (record.flavour, record.version) == ("tensorrt-rtx", tensorrt_rtx.__version__)
    assert (record.precision, record.batch, record.targets) == ("fp16", (1, 1, 1), ())
    assert sidecar.spec == rtx.spec
    if why_no_gpu():
        assert not record.executed
        assert (record.gpu, record.compute_capability, record.driver) == (None, None, None)
        assert sidecar.spec.verification is not None
        assert not sidecar.spec.verification["executed"]
        assert "engine not executed; its ONNX: " in sidecar.spec.verification["summary"]
        assert any("--verify-artifact" in note for note in rtx.verification.notes)


def test_two_exports_are_equal_to_the_byte(
    rtx: ExportResult, nano_pth: Path, tmp_path: Path
) -> None:
    (again,) = export_model(nano_pth, ["trt-rtx"], replace(HALF, verify=False), tmp_path)
    assert again.path.read_bytes() == rtx.path.read_bytes()
    assert read_sidecar(again.path).engine == read_sidecar(rtx.path).engine


@pytest.mark.parametrize("name", [TRAINED, *ARCHITECTURES])
def test_every_model_becomes_the_same_half_precision_engine_twice(
    name: str, nano_pth: Path, network_of: Any, tmp_path: Path
) -> None:
    checkpoint = nano_pth
    if name != TRAINED:
        checkpoint = tmp_path / f"{name}.pth"
        torch.save({"model": network_of(name).state_dict()}, checkpoint)
    # Decoded, so that there is an exp.
    options = ExportOptions(fp16=True, decode=True, verify=False)
    exported, engine = export_model(checkpoint, ["onnx", "trt-rtx"], options, tmp_path)
    graph = onnx.load(exported.path)
    layers, ends = kinds_of_layers(graph)
    assert layers["CONVOLUTION"] == Counter(HALF=sum(n.op_type == "Conv" for n in graph.graph.node))
    assert layers["CONVOLUTION"]["HALF"] > 80
    assert set(layers["decode UNARY"]) == set(layers["decode ELEMENTWISE"]) == {"FLOAT"}
    assert ends == {"FLOAT"}

    record = read_sidecar(engine.path).engine
    content = engine.path.read_bytes()
    assert record is not None
    assert record.engine_sha256 == hashlib.sha256(content).hexdigest()
    assert (record.flavour, record.precision) == ("tensorrt-rtx", "fp16")
    assert engine.spec.architecture == name.removesuffix(" trained")
    assert len(content) > 2 * sum(weights.size for weights in half_weights(graph))
    request = TARGETS["trt-rtx"].request(engine.spec, None)  # type: ignore[attr-defined]
    assert build_engine(tensorrt_rtx, graph, request) == content


def test_targets_and_profile_are_what_was_asked_for(checkpoint_of: Any, tmp_path: Path) -> None:
    settings = EngineSettings(profile=(2, 3, 5), targets=("sm86", "sm120"))
    options = ExportOptions(hints=SMALL, dynamic=True, verify=False, engine=settings)
    (result,) = export_model(checkpoint_of(1), ["trt-rtx"], options, tmp_path)
    record = read_sidecar(result.path).engine
    assert record is not None
    assert (record.batch, record.targets) == ((2, 3, 5), ("sm86", "sm120"))
    assert result.spec.batch is None
    default = replace(options, engine=EngineSettings())
    (result,) = export_model(checkpoint_of(1), ["trt-rtx"], default, tmp_path)
    record = read_sidecar(result.path).engine
    assert record is not None
    assert record.batch == (1, 4, 8)


@pytest.mark.parametrize(
    ("to", "options", "sentence"),
    [
        ("trt-rtx", {"engine": EngineSettings(targets=("sm68",))}, "did you mean 'sm8"),
        ("trt-rtx", {"engine": EngineSettings(version_compatible=True)}, "version-compatible"),
        ("trt-rtx", {"engine": EngineSettings(profile=(1, 2, 3))}, "add --dynamic"),
        ("trt-rtx", {"nms": True}, "cannot carry NMS"),
        ("trt", {"nms": True}, "cannot carry NMS"),
        ("trt", {"engine": EngineSettings(profile=(1, 2, 3))}, "add --dynamic"),
        (
            "onnx",
            {"engine": EngineSettings(workspace=64)},
            "is for --to trt or trt-rtx, not for onnx",
        ),
    ],
    ids=str,
)
def test_what_an_engine_cannot_be_is_refused_before_anything_is_written(
    to: str, options: dict[str, Any], sentence: str, checkpoint_of: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        export_model(
            checkpoint_of(1), [to], ExportOptions(hints=SMALL, **options), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [{"workspace": 0}, {"profile": (2, 1, 3)}, {"profile": (0, 1, 3)}, {"profile": (1, 2, 5000)}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"workspace|ascending"):
        EngineSettings(**options)


def test_too_small_a_workspace_is_said_to_be_one(checkpoint_of: Any, tmp_path: Path) -> None:
    settings = EngineSettings(workspace=1)
    options = ExportOptions(
        hints=replace(SMALL, imgsz=(416, 416)), verify=False, engine=settings, fp16=True
    )
    with pytest.raises(ConversionError, match="workspace of 1 MiB is too small") as caught:
        export_model(checkpoint_of(1), ["trt-rtx"], options, tmp_path)
    assert "--workspace" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def convolution(*, quantized: bool) -> onnx.ModelProto:
    """A small convolution, its input and weights through INT8 where asked for."""
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 8, 16, 16]),
    ]
    random = np.random.default_rng(0)
    constants = {
        "weights": random.standard_normal((8, 3, 3, 3), np.float32),
        "scale": np.float32(0.05),
        "zero": np.int8(0),
    }
    nodes = [helper.make_node("Conv", ["images", "weights"], ["output"], pads=[1, 1, 1, 1])]
    if quantized:
        for name in ("images", "weights"):
            parts = [name, f"{name}_int8", f"{name}_back"]
            for kind, a, b in (("QuantizeLinear", *parts[:2]), ("DequantizeLinear", *parts[1:])):
                nodes.insert(-1, helper.make_node(kind, [a, "scale", "zero"], [b]))
        nodes[-1].input[:] = ["images_back", "weights_back"]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_graph_with_int8_nodes_becomes_an_int8_engine(
    nano_spec: ModelSpec, tmp_path: Path
) -> None:
    precisions = []
    spec = replace(nano_spec, batch=1)
    for quantized in (True, False):
        main = tmp_path / f"{quantized}.rtx.engine"
        TARGETS["trt-rtx"].convert(convolution(quantized=quantized), spec, main)
        record = read_sidecar(main).engine
        assert record is not None
        precisions.append(record.precision)
    assert precisions == ["int8", "fp32"]


def test_an_interrupt_ends_a_build_after_its_step() -> None:
    told: list[str] = []

    def interrupt(phase: str, done: int, total: int) -> None:
        told.append(phase)
        if len(told) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build_engine(tensorrt_rtx, convolution(quantized=False), BuildRequest(), interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    every: list[str] = []
    whole = convolution(quantized=False)
    assert build_engine(tensorrt_rtx, whole, BuildRequest(), lambda p, d, t: every.append(p))
    assert len(told) < len(every)


@no_tensorrt
def test_without_tensorrt_the_onnx_and_the_command_are_there(
    checkpoint_of: Any, tmp_path: Path
) -> None:
    settings = EngineSettings(workspace=512)
    options = ExportOptions(hints=SMALL, fp16=True, dynamic=True, engine=settings)
    with pytest.raises(EngineNotBuiltError) as caught:
        export_model(checkpoint_of(1), ["trt"], options, tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "\n" not in text
    assert 'pip install "yolox-deploy[tensorrt]"' in text
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
    with pytest.raises(EngineNotBuiltError, match="not verified") as caught:
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
    monkeypatch.setattr(targets, "build_engine", build)
    monkeypatch.setattr(targets, "why_no_gpu", lambda: "")
    monkeypatch.setattr(targets, "find_gpu", lambda: GPU)
    monkeypatch.setattr(targets, "free_memory", lambda: 20 << 30)
    settings = EngineSettings(hardware_compatible=True)
    options = ExportOptions(hints=SMALL, fp16=True, batch=4, verify=False, engine=settings)
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


def copied(result: ExportResult, folder: Path) -> Path:
    for file in TARGETS[result.target].files(result.path):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / result.path.name


@pytest.mark.parametrize("to", ["onnx", "openvino", "ncnn"])
def test_an_artifact_that_is_there_is_verified_and_says_so(
    to: str, made_once: Any, nano_pth: Path, tmp_path: Path
) -> None:
    result = made_once(nano_pth, BUILT, ExportOptions())[to]
    path = copied(result, tmp_path)
    TARGETS[to].embed(path, replace(result.spec, verification=None))
    before = {file.name for file in tmp_path.iterdir()}
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    assert found.notes == ()
    assert {file.name for file in tmp_path.iterdir()} == before
    with BACKENDS[TARGETS[to].backend].runtime_class()(path) as runtime:
        assert runtime.spec == found.spec
        assert runtime.spec.verification is not None
        assert runtime.spec.verification["status"] == "passed"


def test_an_artifact_of_another_class_count_is_not_the_checkpoints(
    nano_hub: ExportResult, checkpoint_of: Any
) -> None:
    content = nano_hub.path.read_bytes()
    with pytest.raises(UsageError, match=r"80 classes and .* 7: it was not made from"):
        verify_artifact(nano_hub.path, checkpoint_of(7))
    assert nano_hub.path.read_bytes() == content


def test_an_artifact_without_a_spec_is_verified_and_left_alone(
    nano_onnx: Path, nano_pth: Path, tmp_path: Path
) -> None:
    path = tmp_path / "official.onnx"
    path.write_bytes(nano_onnx.read_bytes())
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    assert any("nothing was written" in note for note in found.notes)
    assert path.read_bytes() == nano_onnx.read_bytes()


@pytest.mark.parametrize("to", TARGETS)
def test_the_target_of_a_file_is_told_by_its_name(to: str) -> None:
    assert target_of(Path(f"x.y{TARGETS[to].suffix}")).name == to


def test_an_engine_that_runs_at_last_is_recorded_as_executed(
    rtx: ExportResult, nano_pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime stands in for the GPU: this shows the sidecar's way, no engine runs."""
    path = copied(rtx, tmp_path)
    source = rtx.path.with_name("yolox_nano_fp16.onnx")

    class StandIn(BACKENDS["onnxruntime"].runtime_class()):  # type: ignore[misc]
        def _open(self) -> Opened:
            engine, self.path = self.path, source
            opened = super()._open()
            self.path = engine
            return opened._replace(spec_json=read_sidecar(engine).spec.to_json())

    class Row:
        @staticmethod
        def runtime_class() -> type:
            return StandIn

    monkeypatch.setattr(artifact, "backend_for", lambda path: Row)
    before = read_sidecar(path).engine
    assert before == replace(as_record(before), executed=False)
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    after = read_sidecar(path)
    assert after.engine == replace(as_record(before), executed=True)
    assert after.spec.verification is not None
    assert "engine not executed" not in after.spec.verification["summary"]
    assert path.read_bytes() == rtx.path.read_bytes()
    json.loads(path.with_name(path.name + ".json").read_text("utf-8"))


def as_record(record: EngineRecord | None) -> EngineRecord:
    assert record is not None
    return record


@no_gpu
def test_an_engine_is_not_verified_where_it_cannot_run(rtx: ExportResult, nano_pth: Path) -> None:
    content = rtx.path.with_name(rtx.path.name + ".json").read_bytes()
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        verify_artifact(rtx.path, nano_pth)
    assert rtx.path.with_name(rtx.path.name + ".json").read_bytes() == content
