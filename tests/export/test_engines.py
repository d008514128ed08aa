"""Engines of TensorRT-RTX, built for real and without a GPU.  Nothing here runs an engine."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from yolox_deploy.errors import ConversionError, UsageError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, export_model
from yolox_deploy.export.targets.tensorrt.builder import BuildRequest, build_engine, network_flags
from yolox_deploy.models import ARCHITECTURES
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.runtimes.tensorrt.log import log_of
from yolox_deploy.runtimes.tensorrt.sidecar import read_sidecar
from yolox_deploy.spec import ModelSpec, SpecHints

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))
HALF = ExportOptions(fp16=True)
TRAINED = "nano trained"
# Built once: a second time takes as long, and shows no more than that of a small one.
LARGE = ("m", "l", "x", "darknet53")


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
        assert "its ONNX graph: " in sidecar.spec.verification["summary"]
        assert any("yolox-verify" in note for note in rtx.verification.notes)


def test_two_exports_are_equal_to_the_byte(
    rtx: ExportResult, nano_pth: Path, tmp_path: Path
) -> None:
    (again,) = export_model(nano_pth, ["trt-rtx"], replace(HALF, verify=False), tmp_path)
    assert again.path.read_bytes() == rtx.path.read_bytes()
    assert read_sidecar(again.path).engine == read_sidecar(rtx.path).engine


@pytest.mark.parametrize("name", [TRAINED, *ARCHITECTURES])
def test_every_model_becomes_a_half_precision_engine_the_same_one_twice(
    name: str, nano_pth: Path, network_of: Any, tmp_path: Path
) -> None:
    checkpoint, hints = nano_pth, SpecHints()
    if name != TRAINED:
        checkpoint = tmp_path / f"{name}.pth"
        torch.save({"model": network_of(name).state_dict()}, checkpoint)
        # The layers and their types do not depend on the size of the input.
        hints = SpecHints(imgsz=(64, 64))
    # Decoded, so that there is an exp.
    options = ExportOptions(hints=hints, fp16=True, decode=True, verify=False)
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
    if name in LARGE:
        return
    request = TARGETS["trt-rtx"].request(engine.spec, None)  # type: ignore[attr-defined]
    assert build_engine(tensorrt_rtx, graph, request) == content


def test_targets_and_profile_are_what_was_asked_for(checkpoint_of: Any, tmp_path: Path) -> None:
    settings = {"profile": (2, 3, 5), "targets": ("sm86", "sm120")}
    options = ExportOptions(hints=SMALL, dynamic=True, verify=False, settings=settings)
    (result,) = export_model(checkpoint_of(1), ["trt-rtx"], options, tmp_path)
    record = read_sidecar(result.path).engine
    assert record is not None
    assert (record.batch, record.targets) == ((2, 3, 5), ("sm86", "sm120"))
    assert result.spec.batch is None
    default = replace(options, settings={}, overwrite=True)
    (result,) = export_model(checkpoint_of(1), ["trt-rtx"], default, tmp_path)
    record = read_sidecar(result.path).engine
    assert record is not None
    assert record.batch == (1, 4, 8)


@pytest.mark.parametrize(
    ("to", "options", "sentence"),
    [
        ("trt-rtx", {"settings": {"targets": ("sm68",)}}, "did you mean 'sm8"),
        ("trt-rtx", {"settings": {"version_compatible": True}}, "is for --to trt, not for trt-rtx"),
        ("trt-rtx", {"settings": {"workspce": 64}}, "did you mean 'workspace'"),
        ("trt-rtx", {"settings": {"profile": (1, 2, 3)}}, "add --dynamic"),
        ("trt-rtx", {"nms": True}, "cannot carry NMS"),
        ("trt", {"nms": True}, "cannot carry NMS"),
        ("trt", {"settings": {"profile": (1, 2, 3)}}, "add --dynamic"),
        (
            "onnx",
            {"settings": {"workspace": 64}},
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
        TARGETS["trt"].with_settings(options)


def test_too_small_a_workspace_is_said_to_be_one(checkpoint_of: Any, tmp_path: Path) -> None:
    settings = {"workspace": 1}
    options = ExportOptions(
        hints=replace(SMALL, imgsz=(416, 416)), verify=False, settings=settings, fp16=True
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
