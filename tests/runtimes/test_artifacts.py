"""Artifacts that are broken, lie, or belong to another network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SEAL, SPEC_KEY, seal

onnx = pytest.importorskip("onnx")

READS_ONNX = [name for name, row in BACKENDS.items() if ".onnx" in row.suffixes]


def beside(path: Path) -> list[Path]:
    return [p for p in path.parent.iterdir() if p.stem == path.stem]


@pytest.fixture
def copy_of(model_for: Any, tmp_path: Path) -> Callable[..., Path]:
    """Give a copy of a backend's artifact, with every file that belongs to it."""

    def copy(backend: str, **options: Any) -> Path:
        path: Path = model_for(backend, **options).path
        for part in beside(path):
            shutil.copy(part, tmp_path / part.name)
        return tmp_path / path.name

    return copy


def sealed(spec: dict[str, Any]) -> str:
    return json.dumps({**spec, SEAL: seal(spec)})


def with_spec(path: Path, **changes: Any) -> Path:
    """Change what the spec inside an ONNX file says, and seal it again."""
    model = onnx.load(path)
    (entry,) = (p for p in model.metadata_props if p.key == SPEC_KEY)
    entry.value = sealed({**json.loads(entry.value), **changes})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", READS_ONNX)
@pytest.mark.parametrize(
    "changes",
    [
        {"height": 384},
        {"height": 640, "width": 640},
        {"batch": 2},
        {"batch": None},
        {"class_names": ["one"]},
        {"strides": [8, 16]},
        {"output": "detections"},
        {"version": 99},
        {"tools": [1]},
    ],
    ids=str,
)
def test_a_spec_that_does_not_belong_to_its_model_is_refused(
    backend: str, changes: dict[str, Any], copy_of: Any
) -> None:
    path = with_spec(copy_of("onnxruntime"), **changes)
    with pytest.raises(ArtifactError, match=path.name) as caught:
        Detector(path, backend)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", READS_ONNX)
def test_an_official_export_without_a_spec_is_understood(
    backend: str, nano_onnx: Path, dog_path: Path
) -> None:
    with Detector(nano_onnx, backend, threads=1) as opened:
        assert opened.spec.assumed == ("class_names", "strides")
        assert (opened.spec.height, opened.spec.width, opened.spec.batch) == (416, 416, 1)
        assert opened(dog_path).scores == pytest.approx(
            [0.855, 0.803, 0.798, 0.306, 0.260], abs=0.002
        )


def network(path: Path, shape: list[int], nodes: list[Any], out: list[int]) -> Path:
    """Write a small ONNX network with the initializers that the cases below use."""
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind.FLOAT, shape)],
        [helper.make_tensor_value_info("y", kind.FLOAT, out)],
        [onnx.numpy_helper.from_array(np.array([1]), "one")],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize("backend", READS_ONNX)
@pytest.mark.parametrize(
    ("shape", "nodes", "out"),
    [
        ([1, 3, 64, 64], [("GlobalAveragePool", ["x"], "p"), ("Flatten", ["p"], "y")], [1, 3]),
        ([1, 3, 64, 64], [("Flatten", ["x"], "f"), ("Unsqueeze", ["f", "one"], "y")],
         [1, 1, 12288]),
        ([1, 3, 64, 64], [("Relu", ["x"], "y")], [1, 3, 64, 64]),
        ([1, 84], [("Unsqueeze", ["x", "one"], "y")], [1, 1, 84]),
    ],
    ids=["classifier", "too few rows", "image to image", "not of pictures"],
)  # fmt: skip
def test_an_onnx_file_that_is_no_detector_is_refused(
    backend: str, shape: list[int], nodes: list[Any], out: list[int], tmp_path: Path
) -> None:
    made = [onnx.helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    path = network(tmp_path / "stranger.onnx", shape, made, out)
    with pytest.raises(ArtifactError, match="stranger") as caught:
        Detector(path, backend)
    assert "(N, 3, H, W)" in str(caught.value) or "YOLOX" in str(caught.value)


def test_openvino_is_not_asked_to_compile_for_an_absurd_input(copy_of: Any, tmp_path: Path) -> None:
    """It would allocate 20 GB first."""
    model = onnx.load(copy_of("onnxruntime"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4096
    del model.metadata_props[:]
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=r"large\.onnx takes 4096x3x416x416, more than"):
        Detector(path, "openvino")


def test_openvino_files_without_their_other_half_are_refused(copy_of: Any) -> None:
    path = copy_of("openvino")
    weights = path.with_suffix(".bin")
    content = weights.read_bytes()
    for broken, message in ((content[:1000], "openvino"), (b"", "openvino"), (None, r"\.bin")):
        if broken is None:
            weights.unlink()
        else:
            weights.write_bytes(broken)
        with pytest.raises(ArtifactError, match=message):
            Detector(path)


def ncnn_outcome(path: Path, arguments: str, picture: Path) -> str:
    """Open an NCNN model in a process of its own, because ncnn may crash instead of refusing."""
    code = (
        "import sys\nfrom yolox_deploy import Detector, YoloxDeployError\n"
        f"try: print(Detector(sys.argv[1], 'ncnn', {arguments})(sys.argv[2]))\n"
        "except YoloxDeployError as error: print(type(error).__name__, error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(picture)], capture_output=True, text=True
    )
    assert run.returncode == 0, f"exit code {run.returncode}: {run.stderr[-300:]}"
    return run.stdout


@pytest.mark.parametrize(
    ("damage", "arguments", "expected"),
    [
        ("none", "", "dog 0.855"),
        ("no spec", "imgsz=416", "dog 0.855"),
        ("no spec", "", "imgsz"),
        ("no spec", "imgsz=(32, 32)", "Error"),
        ("no spec", "imgsz=(100, 100)", "Error"),
        ("no spec", "imgsz=640", "Error"),
        ("spec of a smaller input", "", "ArtifactError"),
        ("spec of other classes", "", "ArtifactError"),
        ("spec of a large batch", "", "ArtifactError"),
        ("spec that is no text", "", "ArtifactError"),
        ("weights cut", "", "ArtifactError"),
        ("weights empty", "", "ArtifactError"),
        ("weights gone", "", ".bin: no such file"),
        ("graph cut", "", "ArtifactError"),
        ("graph of nonsense", "", "ArtifactError"),
        ("graph of absurd size", "", "ArtifactError"),
    ],
)
def test_an_ncnn_model_runs_or_is_refused_and_never_crashes(
    damage: str, arguments: str, expected: str, copy_of: Any, dog_path: Path
) -> None:
    path = copy_of("ncnn")
    weights, sidecar = path.with_suffix(".bin"), path.with_suffix(".json")
    spec = json.loads(sidecar.read_text())
    text = path.read_text()

    def damages() -> None:
        match damage:
            case "no spec":
                sidecar.unlink()
            case "spec of a smaller input":
                sidecar.write_text(sealed({**spec, "height": 32, "width": 32}))
            case "spec of other classes":
                sidecar.write_text(sealed({**spec, "class_names": ["one"]}))
            case "spec of a large batch":
                sidecar.write_text(sealed({**spec, "batch": 4096}))
            case "spec that is no text":
                sidecar.write_bytes(b"\xff\xfe\x00")
            case "weights cut":
                weights.write_bytes(weights.read_bytes()[:100_000])
            case "weights empty":
                weights.write_bytes(b"")
            case "weights gone":
                weights.unlink()
            case "graph cut":
                path.write_text("\n".join(text.splitlines()[:100]))
            case "graph of nonsense":
                path.write_text("7767517\nhello world\n" * 10)
            case "graph of absurd size":
                path.write_text("7767517\n999999999 999999999\n")

    damages()
    assert expected in ncnn_outcome(path, arguments, dog_path)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_nms_in_the_graph_gives_the_same_detections(
    backend: str, model_for: Any, mixed_pictures: list[Path]
) -> None:
    path, arguments = model_for(backend, nms=True)
    plain, plain_arguments = model_for(backend)
    with Detector(path, **arguments) as inside, Detector(plain, **plain_arguments) as outside:
        assert inside.spec.output == "detections"
        for picture, found in zip(
            mixed_pictures[:3], inside.batch(mixed_pictures[:3]), strict=True
        ):
            expected = outside(picture)
            np.testing.assert_array_equal(found.class_ids, expected.class_ids)
            np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    with Detector(path, **arguments, score_threshold=0.5, max_detections=2) as strict:
        assert [d.name for d in strict(mixed_pictures[0])] == ["dog", "bicycle"]
    for refused in ({"iou_threshold": 0.6}, {"score_threshold": 0.1}, {"class_agnostic": True}):
        with pytest.raises(UsageError, match="NMS in the graph"):
            Detector(path, **arguments, **refused)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_boxes_decoded_in_the_graph_give_the_same_detections(
    backend: str, model_for: Any, dog_path: Path
) -> None:
    path, arguments = model_for(backend, decode=True)
    plain, plain_arguments = model_for(backend)
    with Detector(path, **arguments) as inside, Detector(plain, **plain_arguments) as outside:
        assert inside.spec.output == "decoded"
        found, expected = inside(dog_path), outside(dog_path)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.02)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    with pytest.raises(UsageError, match="decoded"):
        Detector(path, **arguments, decoded=False)
