"""Whatever is wrong: one clear line, the documented exit code, nothing destroyed or left behind."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper


class RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


def missing(path: Path, nano: Path) -> None:
    pass


def empty(path: Path, nano: Path) -> None:
    path.touch()


def truncated(path: Path, nano: Path) -> None:
    data = nano.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def running_code(path: Path, nano: Path) -> None:
    path.write_bytes(pickle.dumps({"model": RunsCode(path.with_name("ran"))}))


def running_code_in_a_zip(path: Path, nano: Path) -> None:
    torch.save({"model": RunsCode(path.with_name("ran"))}, path)
    assert zipfile.is_zipfile(path)


def of_another_network(path: Path, nano: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 4)).state_dict(), path)


def text(path: Path, nano: Path) -> None:
    path.write_text("<html>404: not found</html>")


def a_list(path: Path, nano: Path) -> None:
    torch.save([torch.zeros(3)], path)


def not_a_number(path: Path, nano: Path) -> None:
    content = torch.load(nano, weights_only=True)
    content["model"]["head.stems.0.conv.weight"][0, 0] = float("nan")
    torch.save(content, path)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (missing, "no such file"),
        (empty, "empty"),
        (truncated, "damaged"),
        (running_code, "could run code"),
        (running_code_in_a_zip, "could run code"),
        (of_another_network, "no YOLOX checkpoint"),
        (text, "not a PyTorch checkpoint"),
        (a_list, "not a state dict"),
        (not_a_number, "NaN or infinity"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_checkpoint_is_refused(
    make: Any, word: str, command: Any, nano_pth: Path, tmp_path: Path, untouched: Any
) -> None:
    path = tmp_path / "yolox_nano.pth"
    make(path, nano_pth)
    found = command("yolox-export", "--model", path, "--output", untouched())
    assert_one_line(found, 3, word, path.name)
    assert not (tmp_path / "ran").exists()
    untouched()


def assert_one_line(found: Any, code: int, *words: str) -> None:
    """One line on the standard error (after the stages), naming all words; nothing printed."""
    lines = [line for line in found.err.splitlines() if ": reading the checkpoint" not in line]
    assert found.code == code, found
    assert len(lines) == 1, found.err
    assert lines[0].startswith("yolox-")
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in found.err
    assert "unexpected" not in found.err
    assert "\x1b" not in found.err
    assert found.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--to", "opnvino"), 2, ["unknown target 'opnvino'", "did you mean 'openvino'?"]),
        (("--to", ","), 2, ["--to", "names nothing"]),
        (("--to", "ncnn", "--nms"), 2, ["ncnn cannot carry NMS"]),
        (("--imgsz", "417"), 2, ["417", "416 or 448"]),
        (("--imgsz", "1", "2", "3"), 2, ["--imgsz", "3 numbers"]),
        (("--imgsz", "-32"), 2, ["-32"]),
        (("--batch", "0"), 2, ["batch", "0"]),
        (("--batch", "2", "--dynamic"), 2, ["--dynamic", "--batch"]),
        (("--opset", "7"), 2, ["opset", "11.."]),
        (
            ("--names", "one,two,three"),
            2,
            ["3 class names", "(one, two, three)", "2 classes"],
        ),
        (("--names", " , "), 2, ["--names"]),
        (("--names", "missing.txt"), 2, ["missing.txt"]),
        (("--arch", "nanoo"), 2, ["did you mean 'nano'?"]),
        (("--arch", "s"), 3, ["its architecture is nano, the requested is s: leave the"]),
        (("--output", "art/x.onnx"), 2, ["--output: expected a folder, and art/x.onnx is"]),
        (("--json", "art/"), 2, ["--json: expected a file, and art/ is the name of a folder"]),
        (("--verify", "missing"), 3, ["missing"]),
        (("--verify", "missing", "--no-verify"), 2, ["--no-verify"]),
        (("--nms", "--score-threshold", "1.5"), 2, ["1.5"]),
        (("--describe", "missing.onnx"), 3, ["missing.onnx: no such file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_bad_request_is_refused_before_anything_is_written(
    arguments: tuple[str, ...],
    code: int,
    words: list[str],
    command: Any,
    tiny_pth: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    found = command("yolox-export", "--model", tiny_pth, "--output", out, *arguments)
    found = found._replace(
        err="".join(
            line for line in found.err.splitlines(True) if ": running the checkpoint" not in line
        )
    )
    assert_one_line(found, code, *words)
    assert not out.exists()


def test_an_artifact_in_place_of_a_checkpoint_is_named_as_such(
    command: Any, onnx_nano: Path, tmp_path: Path
) -> None:
    found = command("yolox-export", "--model", onnx_nano, "--output", tmp_path / "out")
    assert_one_line(found, 2, "artifact already")


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc"])
def test_a_folder_that_cannot_be_written_is_named(
    place: str, command: Any, tiny_pth: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    out = {"a file": file, "below a file": file / "out", "/proc": Path("/proc/out")}[place]
    found = command("yolox-export", "--model", tiny_pth, "--output", out, "--no-verify")
    assert_one_line(found, 7, "cannot write", str(out))
    assert file.read_text() == "precious"


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""


@pytest.mark.parametrize("to", ["onnx", "openvino", "ncnn"])
def test_a_disk_that_fills_up_leaves_what_was_there(
    to: str, process: Any, tiny_pth: Path, tmp_path: Path
) -> None:
    """No file may grow beyond what this process is allowed, as on a full disk."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("tiny.onnx", "tiny.xml", "tiny.bin", "tiny.ncnn.param", "tiny.ncnn.bin"):
        (out / name).write_text("precious")
    found = process(
        "yolox-export", "--model", tiny_pth, "--to", to, "--output", out, before=LIMITED
    )
    assert found.code in (7, 9), found.err
    last = found.err.splitlines()[-1]
    assert last.startswith("yolox-export: ")
    assert "Traceback" not in found.err
    assert "unexpected" not in found.err
    assert {path.read_text() for path in out.iterdir()} == {"precious"}
    assert len(list(out.iterdir())) == 5


# -- yolox-detect --------------------------------------------------------------------------------


def no_detector(path: Path, nano: Path) -> None:
    """A classifier: pictures in, (N, 10) out."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def half_an_artifact(path: Path, nano: Path) -> None:
    data = nano.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "words",
    [
        "yolox-eval --model {onnx} --data {long} --images .",
        "yolox-eval --model {onnx} --data {coco} --images {long}",
        "yolox-detect {long}",
        "yolox-detect {dog} --model {long}.onnx",
        "yolox-detect {dog} --model {onnx} --output {long}",
        "yolox-bench --images {long}",
        "yolox-bench show {long}",
        "yolox-verify {long}.onnx",
        "yolox-compare {long}.onnx {long}.xml",
        "yolox-export --model {long}.pth",
        "yolox-train --arch nano --data {long}",
        "yolox-data {long} --to coco.json",
    ],
)
def test_a_name_that_no_file_can_have_is_told(
    words: str, command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    coco = tmp_path / "coco.json"
    picture = {"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    parts = {"images": [picture], "annotations": [thing], "categories": [{"id": 1, "name": "dog"}]}
    coco.write_text(json.dumps(parts))
    files = {"long": "x" * 300, "onnx": onnx_nano, "dog": dog_path, "coco": coco}
    found = command(*(word.format(**files) for word in words.split()))
    assert_one_line(found, found.code, "x" * 150)
    assert found.code in (2, 3, 7)


def test_two_dashes_are_the_value_of_an_option(
    command: Any, onnx_nano: Path, dog_path: Path
) -> None:
    found = command("yolox-detect", dog_path, "--model", onnx_nano, "--no-draw", "--backend=--")
    assert_one_line(found, 2, "unknown backend '--'")


@pytest.mark.parametrize(
    "text", ["9" * 5000, "\u00b2"], ids=["5000 digits", "a digit that is none"]
)
def test_what_is_no_number_of_a_class_is_told(
    text: str, command: Any, onnx_nano: Path, dog_path: Path
) -> None:
    found = command("yolox-detect", dog_path, "--model", onnx_nano, "--no-draw", "--classes", text)
    assert_one_line(found, 2, f"the model has no class '{text[:50]}")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (missing, "no such file"),
        (empty, "empty"),
        (text, "no .onnx file"),
        (half_an_artifact, "no .onnx file"),
        (no_detector, "a YOLOX detector takes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_artifact_is_refused(
    make: Any, word: str, command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    make(path, onnx_nano)
    out = tmp_path / "out"
    found = command("yolox-detect", dog_path, "--model", path, "--output", out)
    assert_one_line(found, 3, word)
    assert not out.exists()
    found = command("yolox-export", "--describe", path)
    assert_one_line(found, 3, word)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--backend", "onnxrutime"), 2, ["did you mean 'onnxruntime'?"]),
        (("--backend", "ncnn"), 2, ["opens .param files"]),
        (("--classes", "dgo"), 2, ["no class 'dgo'", "did you mean 'dog'?"]),
        (("--classes", "80"), 2, ["80"]),
        (("--score-threshold", "2"), 2, ["score_threshold"]),
        (("--iou-threshold", "-1"), 2, ["iou_threshold"]),
        (("--max-detections", "0"), 2, ["max_detections"]),
        (("--threads", "0"), 2, ["threads"]),
        (("--threads", "-2"), 2, ["threads must lie in 1..", "got -2"]),
        (("--batch", "0"), 2, ["--batch must lie in 1..4096, got 0"]),
        (("--tile", "0"), 2, ["tile must be at least 32 pixels wide and high, got 0"]),
        (("--tile", "big"), 2, ["--tile: expected a whole number, got 'big'"]),
        (("--tile", "--overlap", "1"), 2, ["overlap must lie in 0..0.99, got 1.0"]),
        (("--tile", "--batch", "2"), 2, ["--batch: with --tile"]),
        (("--tile", "32", "--overlap", "0.99"), 2, ["more than 10,000: choose larger tiles"]),
        (("--overlap", "0.3"), 2, ["add --tile"]),
        (("--batch", str(2**70)), 2, ["--batch must lie in 1..4096"]),
        (("--score-threshold", "nan"), 2, ["score_threshold must lie in 0..1, got nan"]),
        (("--imgsz", "0"), 2, ["not (0, 0)"]),
        (("--max-pixels", "0"), 2, ["max_pixels must be at least 1"]),
        (("--device", "tpu"), 2, ["tpu"]),
        (("--backend", "openvino", "--device", "0"), 2, ["no device '0' (cuda:0)", "gpu"]),
        (("--backend", "openvino", "--device", "npu"), 4, ["sees no device npu"]),
        (("--precision", "int4"), 2, ["int4"]),
        (("--imgsz", "640"), 2, ["416x416"]),
        (("--names", "a,b"), 2, ["2 class names"]),
        (("--legacy",), 2, ["legacy"]),
        (("--output", "result.jpg"), 2, ["--output: expected a folder, and result.jpg is"]),
        (("no_such_picture.jpg",), 3, ["no_such_picture.jpg: no such file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_bad_request_to_detect_is_refused_before_anything_is_written(
    arguments: tuple[str, ...],
    code: int,
    words: list[str],
    command: Any,
    onnx_nano: Path,
    dog_path: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    given = (dog_path, *arguments, "--model", onnx_nano, "--output", out)
    assert_one_line(command("yolox-detect", *given), code, *words)
    assert not out.exists()


def test_a_folder_without_pictures_is_refused(
    command: Any, onnx_nano: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "notes.txt").write_text("none here")
    found = command("yolox-detect", folder, "--model", onnx_nano)
    assert_one_line(found, 3, "folder without pictures")


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 5000, 3), (5000, 3, 3)], ids=str)
def test_pictures_of_odd_sizes_are_served(
    shape: tuple[int, ...], command: Any, onnx_nano: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "odd.png"
    cv2.imwrite(str(picture), np.full(shape, 90, np.uint8))
    found = command("yolox-detect", picture, "--model", onnx_nano, "--output", tmp_path / "out")
    assert found.code == 0, found.err
    drawn = cv2.imread(str(tmp_path / "out" / "odd.png"))
    assert drawn is not None
    assert drawn.shape == shape


@pytest.mark.parametrize("option", ["--json", "--csv", "--coco", "--txt", "--output"])
def test_results_that_cannot_be_written_leave_what_was_there(
    option: str, command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    draw = () if option == "--output" else ("--no-draw",)
    given = (dog_path, "--model", onnx_nano, option, tmp_path / "file" / "result")
    found = command("yolox-detect", *given, *draw)
    assert found.code == 7
    assert found.err.startswith("yolox-detect: cannot write ")
    assert len(found.err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "precious"


def test_an_unexpected_error_is_one_line_too(
    command: Any, monkeypatch: pytest.MonkeyPatch, onnx_nano: Path, dog_path: Path
) -> None:
    def fails(*_: object, **options: object) -> Any:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("yolox_deploy.cli.detect.find_sources", fails)
    found = command("yolox-detect", dog_path, "--model", onnx_nano)
    assert found.code == 1
    assert "unexpected RuntimeError: two lines (YOLOX_DEPLOY_DEBUG=1" in found.err
    assert len(found.err.splitlines()) == 1
    monkeypatch.setenv("YOLOX_DEPLOY_DEBUG", "1")
    with pytest.raises(RuntimeError):
        command("yolox-detect", dog_path, "--model", onnx_nano)
