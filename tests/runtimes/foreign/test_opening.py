"""Artifacts that state nothing: what is found out about them, kept, said, and refused."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detector
from yolox_deploy.cli.export import main as export_command
from yolox_deploy.errors import ArtifactError, ModelWarning, UsageError
from yolox_deploy.files import cache_folder
from yolox_deploy.runtimes.foreign.probe import Found

onnx = pytest.importorskip("onnx")
helper = onnx.helper

ENGINES = ("onnxruntime", "openvino", "ncnn")
READS_ONNX = ENGINES[:2]


@pytest.fixture(scope="session")
def legacy_onnx(data_file: Any) -> Path:
    path: Path = data_file("foreign/yolox_nano_legacy_416.onnx")
    return path


def without_spec(path: Path, folder: Path) -> Path:
    """Copy one of our artifacts as another exporter would have written it."""
    for part in path.parent.iterdir():
        if part.name.split(".")[0] == path.name.split(".")[0] and part.suffix in (".bin", ".param"):
            shutil.copy(part, folder)
    if path.suffix == ".onnx":
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, folder / path.name)
    elif path.suffix == ".xml":
        text, count = re.subn(r'<yolox_deploy value="[^"]*"\s*/>', "", path.read_text())
        assert count == 1
        (folder / path.name).write_text(text)
    return folder / path.name


def opened(path: Path, **arguments: Any) -> tuple[Detector, list[str]]:
    """Open a model; return it with what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector = Detector(path, **{"threads": 1, **arguments})
    return detector, [str(w.message) for w in caught if w.category is ModelWarning]


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize(
    "options", [{}, {"decode": True}, {"fp16": True}, {"dynamic": True}], ids=str
)
def test_an_artifact_without_its_spec_detects_what_it_detects_with_it(
    backend: str, options: dict[str, Any], model_for: Any, tmp_path: Path, dog_path: Path
) -> None:
    path, arguments = model_for(backend, **options)
    bare = without_spec(path, tmp_path)
    size = {"imgsz": 416} if backend == "ncnn" else {}
    with Detector(path, **arguments) as stated:
        expected = stated(dog_path)
        spec = stated.spec
    detector, notes = opened(bare, backend=backend, **size)
    with detector:
        assert (detector.spec.output, detector.spec.legacy) == (spec.output, False)
        assert detector.spec.assumed == ("class_names", "strides")
        found = detector(dog_path)
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    np.testing.assert_array_equal(found.scores, expected.scores)
    (note,) = notes
    assert re.search(
        rf"carries no spec.* output is {spec.output} boxes, because they .*follow the grid .*input "
        "is plain BGR 0..255, because its first convolution .*COCO's 80 classes.*--names",
        note,
    )


@pytest.mark.parametrize("backend", READS_ONNX)
def test_legacy_weights_of_others_are_seen(backend: str, legacy_onnx: Path, dog_path: Path) -> None:
    detector, (note,) = opened(legacy_onnx, backend=backend)
    with detector:
        assert detector.spec.legacy
        assert [d.name for d in detector(dog_path)][:2] == ["dog", "bicycle"]
    assert "input is legacy (RGB, /255, mean and std), because its first convolution" in note


def test_a_model_of_one_class_is_seen(data_file: Any) -> None:
    detector, (note,) = opened(data_file("foreign/yolox_nano_fish_416.onnx"))
    with detector:
        found = detector(data_file("foreign/fish/images/000001.jpg"))
        assert not detector.spec.legacy
        assert len(found)
    assert "assumed are class_0, ... as names" in note
    named, notes = opened(data_file("foreign/yolox_nano_fish_416.onnx"), names="fish")
    with named:
        assert named.names == ("fish",)
        assert named.spec.assumed == ("strides",)
    assert "names" not in notes[0]


def edited(source: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(source)
    change(model.graph)
    path = folder / f"changed_{source.name}"
    onnx.save(model, path)
    return path


def with_front(graph: Any) -> None:
    """Put the legacy formula into the graph, so that it takes plain pixels."""
    (image,) = (i.name for i in graph.input)
    for node in graph.node:
        node.input[:] = ["prepared" if name == image else name for name in node.input]
    shape = (1, 3, 1, 1)
    constants = {
        "order": np.array([2, 1, 0]),
        "largest": np.float32(255),
        "mean": np.array([0.485, 0.456, 0.406], np.float32).reshape(shape),
        "std": np.array([0.229, 0.224, 0.225], np.float32).reshape(shape),
    }
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
    )
    front = [
        helper.make_node("Gather", [image, "order"], ["rgb"], axis=1),
        helper.make_node("Div", ["rgb", "largest"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["prepared"]),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front, *rest])


@pytest.mark.parametrize("backend", READS_ONNX)
def test_a_graph_that_prepares_its_pixels_itself_is_judged_by_what_it_sees(
    backend: str, legacy_onnx: Path, dog_path: Path, tmp_path: Path
) -> None:
    detector, (note,) = opened(edited(legacy_onnx, tmp_path, with_front), backend=backend)
    with detector:
        assert not detector.spec.legacy
        assert detector(dog_path)[0].name == "dog"
    assert "input is plain BGR 0..255, because of 27 detections" in note


def with_front_and_one_class(graph: Any) -> None:
    with_front(graph)
    output = graph.output[0]
    for node in graph.node:
        node.output[:] = ["all" if name == output.name else name for name in node.output]
    columns = onnx.numpy_helper.from_array(np.array([0, 1, 2, 3, 4, 84]), "columns")
    graph.initializer.append(columns)
    graph.node.append(helper.make_node("Gather", ["all", "columns"], [output.name], axis=2))
    output.type.tensor_type.shape.dim[2].dim_value = 6


def test_an_input_that_nothing_tells_is_assumed_and_said(legacy_onnx: Path, tmp_path: Path) -> None:
    path = edited(legacy_onnx, tmp_path, with_front_and_one_class)
    detector, (note,) = opened(path)
    with detector:
        assert "input" in detector.spec.assumed
    assert re.search("could not be told, because of .*assumed is plain.*--legacy", note)
    detector, (note,) = opened(path, legacy=False)
    with detector:
        assert "input" not in detector.spec.assumed
    assert "assumed is plain" not in note


def with_any_size(graph: Any) -> None:
    for value, places in ((graph.input[0], {0: "n", 2: "h", 3: "w"}), (graph.output[0], {1: "a"})):
        for place, name in places.items():
            value.type.tensor_type.shape.dim[place].dim_param = name
    for name in ("1157", "1165", "1173"):
        (shape,) = (i for i in graph.initializer if i.name == name)
        shape.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 85, -1]), name))


@pytest.mark.parametrize("backend", READS_ONNX)
def test_a_model_of_any_size_is_probed_in_the_size_asked_for(
    backend: str, nano_onnx: Path, dog_path: Path, tmp_path: Path
) -> None:
    path = edited(nano_onnx, tmp_path, with_any_size)
    with pytest.raises(ArtifactError, match=r"any picture size.*--imgsz"):
        Detector(path, backend)
    detector, _ = opened(path, backend=backend, imgsz=(320, 416))
    with detector:
        assert (detector.spec.batch, detector.spec.height, detector.spec.width) == (None, 320, 416)
        assert detector(dog_path)[0].name == "dog"
    assert len(list((cache_folder() / "probes").iterdir())) == 1


def test_logits_are_refused_with_what_was_seen(data_file: Any) -> None:
    with pytest.raises(ArtifactError, match=r"-60\.\d+ to 4\.8\d* .* 0 to 1: these are logits"):
        Detector(data_file("foreign/yolox_nano_bubbliiing_640.onnx"))


def test_rows_in_the_place_of_columns_are_refused(nano_onnx: Path, tmp_path: Path) -> None:
    def exchanged(graph: Any) -> None:
        graph.output[0].name = graph.node[-1].input[0]
        dims = graph.output[0].type.tensor_type.shape.dim
        dims[1].dim_value, dims[2].dim_value = 85, 3549
        del graph.node[-1]

    with pytest.raises(ArtifactError, match=r"\(1, 85, 3549\), rows and columns exchanged"):
        Detector(edited(nano_onnx, tmp_path, exchanged))


def test_what_the_caller_says_wins_and_a_contradiction_is_said(
    legacy_onnx: Path, dog_path: Path
) -> None:
    detector, (note,) = opened(legacy_onnx, legacy=False, decoded=True)
    with detector:
        assert (detector.spec.output, detector.spec.legacy) == ("decoded", False)
        assert detector.spec.assumed == ("class_names", "strides")
    assert "decoded=True was given, but its output is raw boxes" in note
    assert "legacy=False was given, but its input is legacy" in note
    detector, (note,) = opened(legacy_onnx, legacy=True, decoded=False)
    with detector:
        assert detector(dog_path)[0].name == "dog"
    assert "was given" not in note
    with pytest.raises(UsageError, match="416x416"):
        Detector(legacy_onnx, imgsz=320)


def test_a_checkpoint_has_no_decoded_boxes(nano_pth: Path) -> None:
    with pytest.raises(UsageError, match="leave --decoded out"):
        Detector(nano_pth, "torch", decoded=True)


def entries() -> list[Path]:
    return sorted((cache_folder() / "probes").glob("*.json"))


def test_what_was_found_is_kept_by_the_content_of_all_files(model_for: Any, tmp_path: Path) -> None:
    bare = without_spec(model_for("openvino").path, tmp_path)
    for _ in range(2):
        opened(bare)[0].close()
    (entry,) = entries()
    # What is kept is believed, so the second opening did not run the model.
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "output_why": "so it is kept"}))
    detector, (note,) = opened(bare)
    detector.close()
    assert "so it is kept" in note
    weights = bytearray(bare.with_suffix(".bin").read_bytes())
    weights[1000] ^= 1
    bare.with_suffix(".bin").write_bytes(weights)
    opened(bare)[0].close()
    assert len(entries()) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"output": 1}', b"[" * 100_000, "other output"],
    ids=str,
)
def test_a_damaged_entry_is_made_again(content: bytes | str, nano_onnx: Path) -> None:
    opened(nano_onnx)[0].close()
    (entry,) = entries()
    good = entry.read_bytes()
    damaged = json.dumps({**json.loads(good), "output": "detections"}).encode()
    entry.write_bytes(content if isinstance(content, bytes) else damaged)
    detector, (note,) = opened(nano_onnx)
    detector.close()
    assert "raw boxes" in note
    assert entry.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    nano_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("YOLOX_DEPLOY_CACHE", str(tmp_path / "file"))
    detector, (note,) = opened(nano_onnx)
    detector.close()
    assert "raw boxes" in note


def test_an_artifact_with_a_spec_is_not_probed(model_for: Any) -> None:
    detector, notes = opened(model_for("onnxruntime").path)
    with detector:
        assert detector.runtime.found is None
    assert not notes
    assert not entries()


def test_describe_shows_what_was_found(
    legacy_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_command(["--describe", str(legacy_onnx)]) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "(legacy, release 0.1.0)" in shown
    assert "assumed class_names, strides" in shown
    assert "its input is legacy (RGB, /255, mean and std), because" in shown


def test_only_what_can_be_found_makes_a_result() -> None:
    with pytest.raises(ValueError, match="detections"):
        Found("detections", "", None, "")
    with pytest.raises(ValueError, match="3"):
        Found("raw", "", 3, "")  # type: ignore[arg-type]
