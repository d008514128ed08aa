"""Half precision inside the graph, and converters that refuse or are not there."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from yolox_deploy.errors import ConversionError, MissingPackageError, UsageError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, export_model
from yolox_deploy.export.onnx import make_hub
from yolox_deploy.export.options import artifact_name, requested_spec
from yolox_deploy.export.precision import flushed, to_fp16, underflow
from yolox_deploy.export.prepare import prepare
from yolox_deploy.export.targets import ncnn
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.spec import ModelSpec, SpecHints

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))


def kind(value: Any) -> int:
    number: int = value.type.tensor_type.elem_type
    return number


def test_half_precision_lies_between_float_ends(nano_hub: ExportResult) -> None:
    model = onnx.load(nano_hub.path)
    before = model.SerializeToString()
    half = to_fp16(model)
    assert model.SerializeToString() == before
    assert kind(half.graph.input[0]) == kind(half.graph.output[0]) == TensorProto.FLOAT
    weights = {node.input[1] for node in half.graph.node if node.op_type == "Conv"}
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    assert {kinds[name] for name in weights} == {TensorProto.FLOAT16}
    known = {value.name for value in (*half.graph.input, *half.graph.initializer)}
    for node in half.graph.node:
        assert set(node.input) - {""} <= known, "nodes are not in order"
        known.update(node.output)


@pytest.mark.parametrize("options", [{"decode": True}, {"nms": True}], ids=str)
def test_boxes_are_decoded_in_single_precision_behind_a_half_precision_network(
    options: dict[str, Any], made_once: Any, nano_pth: Path
) -> None:
    """FP16 has steps of half a pixel from 512 on."""
    result = made_once(nano_pth, ["onnx"], ExportOptions(fp16=True, **options))["onnx"]
    assert result.verification.status == "passed"
    graph = onnx.load(result.path).graph
    kinds = {t.name: t.data_type for t in graph.initializer if "decode/" in t.name}
    assert TensorProto.FLOAT in kinds.values()
    assert TensorProto.FLOAT16 not in kinds.values()


def test_half_precision_without_its_converter_names_the_pip_line(
    nano_hub: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.float16", None)
    with pytest.raises(
        MissingPackageError, match=r"cannot be imported .* pip install .*onnxruntime"
    ):
        to_fp16(onnx.load(nano_hub.path))


def test_small_weights_are_counted_before_and_gone_after_flushing(
    nano_pth: Path, nano_hub: ExportResult
) -> None:
    loaded = load_checkpoint(nano_pth)
    spec = loaded.spec()
    plain = make_hub(prepare(loaded.network, spec.input, scale_stem=False), spec).model
    found, scaled = underflow(plain), underflow(onnx.load(nano_hub.path))
    assert (found.small, found.weights, found.all_layers) == (895, 896_512, 113)
    assert scaled.small == 608, "the scaled stem's weights are of ordinary size"
    assert scaled.lost == 1
    assert scaled.layers == 61
    half = to_fp16(plain)
    assert underflow(flushed(half)).small == 0
    assert underflow(half).small > 0
    pairs = zip(half.graph.initializer, flushed(half).graph.initializer, strict=True)
    changed = sum(
        np.count_nonzero(numpy_helper.to_array(a) != numpy_helper.to_array(b)) for a, b in pairs
    )
    assert changed == pytest.approx(found.small, abs=3)


@pytest.mark.parametrize(("scale_stem", "verdict"), [(True, "pass"), (False, "fail")])
def test_what_flushing_would_cost_is_measured_and_told(
    scale_stem: bool, verdict: str, nano_pth: Path, made_once: Any, built: list[str]
) -> None:
    """The scaled stem is what keeps the loss small: without it an engine that flushes fails."""
    options = ExportOptions(fp16=True, scale_stem=scale_stem)
    names = built if scale_stem else ["onnx", "openvino"]
    result = made_once(nano_pth, names, options)["onnx"]
    assert result.verification.status == "passed"
    (note,) = [note for note in result.notes if "normal range" in note]
    assert note.startswith(f"{608 if scale_stem else 895} of 896,512 weights, in 61 of 113")
    assert note.endswith(f"would {verdict} verification")
    (moved,) = re.findall(r"move scores by up to (\S+),", note)
    assert (float(moved) < 0.05) == scale_stem


def made_of_nothing_known() -> onnx.ModelProto:
    """A graph with an operator that no converter has."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 64, 64])
        for name in ("images", "output")
    ]
    node = helper.make_node("NoSuchOperator", ["images"], ["output"], domain="nobody")
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


# Without TensorRT and a GPU there is no parser to refuse; test_tensorrt_versions.py has that.
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("onnx", "trt")])
def test_a_graph_that_cannot_be_converted_is_one_sentence(
    name: str, nano_spec: ModelSpec, tmp_path: Path
) -> None:
    spec = replace(nano_spec, height=64, width=64, batch=1)
    main = tmp_path / f"model{TARGETS[name].suffix}"
    with pytest.raises(ConversionError, match="could not convert") as caught:
        TARGETS[name].convert(made_of_nothing_known(), spec, main)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def program(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("echo first; echo 'no memory' >&2; exit 3", r"exit code 3\): no memory"),
        ("echo done", r"\(no nano_1.ncnn.param or nano_1.ncnn.bin\): done"),
        ("kill -SEGV $$", r"exit code -11\)"),
        ("sleep 60", r"still busy after 0\.2 s"),
    ],
)
def test_a_converter_that_fails_leaves_what_was_there(
    text: str,
    sentence: str,
    checkpoint_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "nano_1.ncnn.param").write_text("precious")
    monkeypatch.setattr(ncnn, "pnnx_program", lambda: program(tmp_path, text))
    if "sleep" in text:
        monkeypatch.setattr(ncnn, "PNNX_TIMEOUT_S", 0.2)
    options = ExportOptions(hints=SMALL, verify=False, overwrite=True)
    with pytest.raises(ConversionError, match=sentence) as caught:
        export_model(checkpoint_of(1), ["ncnn"], options, out)
    assert caught.value.exit_code == 9
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("nano_1.ncnn.param", "precious")]


def test_the_converters_program_is_there() -> None:
    assert ncnn.pnnx_program().is_file()


def test_the_network_is_traced_once_for_all_targets(checkpoint_of: Any, tmp_path: Path) -> None:
    stages: list[str] = []
    options = ExportOptions(hints=SMALL, verify=False)
    export_model(checkpoint_of(1), ["ncnn", "onnx", "onnx"], options, tmp_path, stages.append)
    assert stages == [
        "reading the checkpoint",
        "tracing the network to ONNX",
        "converting to ncnn",
        "converting to onnx",
    ]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dynamic": True, "batch": 2}, "--batch"),
        ({"batch": 0}, "batch"),
        ({"nms": True, "score_threshold": -0.1}, "score threshold"),
        ({"nms": True, "iou_threshold": 1.1}, "IoU threshold"),
        ({"hints": SpecHints(imgsz=(100, 64), names=("thing",))}, "96 or 128"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_refused(
    options: dict[str, Any], word: str, checkpoint_of: Any
) -> None:
    with pytest.raises(UsageError, match=word):
        requested_spec(load_checkpoint(checkpoint_of(1)), ExportOptions(**options))


@pytest.mark.parametrize(
    ("precision", "name"), [("fp32", "yolox_nano"), ("fp16", "yolox_nano_fp16")]
)
def test_the_file_is_named_after_the_checkpoint(precision: Any, name: str) -> None:
    assert artifact_name("yolox_nano", precision) == name


def test_no_target_is_a_usage_error(checkpoint_of: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target"):
        export_model(checkpoint_of(1), [], ExportOptions(), tmp_path)


FULL_DISK = """
import resource, sys
from pathlib import Path
import onnx
from yolox_deploy.cli.export import main
from yolox_deploy.errors import OutputError
from yolox_deploy.export import TARGETS
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.spec import ModelSpec

checkpoint, hub = sys.argv[1:]
graph, spec = onnx.load(hub), ModelSpec.from_json(stored_spec(Path(hub)))
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    TARGETS["openvino"].convert(graph, spec, Path("x.xml").absolute())
except OutputError as error:
    print(error)
sys.exit(main(["--model", checkpoint, "--to", "ncnn", "--no-verify", "--output", "out"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_an_export_that_cannot_write_ends_with_the_code_of_outputs(
    nano_hub: ExportResult, nano_pth: Path, tmp_path: Path
) -> None:
    """Files of more than 2 MB cannot be written, and the weights have 3.6 MB."""
    command = [sys.executable, "-c", FULL_DISK, str(nano_pth), str(nano_hub.path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert run.returncode == 7, run.stderr
    assert run.stdout.startswith(f"cannot write {tmp_path}: File too large")
    assert "cannot write" in run.stderr.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


def test_files_of_ncnn_that_break_off_are_noticed(
    made_once: Any, built: list[str], nano_pth: Path, tmp_path: Path
) -> None:
    """pnnx ends with 0 when the disk is full."""
    result = made_once(nano_pth, built, ExportOptions())["ncnn"]
    main = tmp_path / result.path.name
    text, weights = result.path.read_text(), result.path.with_suffix(".bin").read_bytes()
    for graph, numbers, message in (
        (text, weights, ""),
        (text, weights[:-4], "has 3618300 of 3618304 bytes"),
        (text, b"", "expected 1 to 0"),
        ("", weights, "line 1"),
    ):
        main.write_text(graph)
        main.with_suffix(".bin").write_bytes(numbers)
        assert message in ncnn.incomplete(main, result.spec)
