"""NCNN files of others: what is read, rewritten, and refused before ncnn sees it."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import pytest

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError, ModelWarning
from yolox_deploy.runtimes.ncnn_graph import Graph

SIZE = (416, 416)


@pytest.fixture
def foreign(model_for: Any, tmp_path: Path) -> Callable[[Callable[[str], str]], Path]:
    """Give a copy of the nano without its spec, whose graph was changed by a function."""
    path: Path = model_for("ncnn").path

    def change(function: Callable[[str], str]) -> Path:
        copy = tmp_path / path.name
        copy.write_text(function(path.read_text()))
        shutil.copy(path.with_suffix(".bin"), copy.with_suffix(".bin"))
        return copy

    return change


def test_what_was_read_is_written_again(model_for: Any) -> None:
    path: Path = model_for("ncnn").path
    graph = Graph(path.read_text())
    words = [line.split() for line in path.read_text().splitlines()]
    assert [line.split() for line in str(graph).splitlines()] == words
    weights = path.with_suffix(".bin").stat().st_size
    assert graph.check(weights, *SIZE) == (3549, 85)
    with pytest.raises(ValueError, match=r"Reshape reshape_199: it makes .* of \(85, 80, 80\)"):
        graph.check(weights, 640, 640)


@pytest.mark.parametrize("kind", ["YoloV5Focus", "YoloXFocus"])
def test_a_focus_layer_is_replaced_by_layers_of_ncnn(kind: str) -> None:
    graph = Graph(f"7767517\n2 2\nInput in 0 1 a\n{kind} focus 1 1 a b\n")
    assert graph.replace_focus() == [kind]
    assert graph.check(0, 4, 6) == (12, 2, 3)
    picture = np.arange(3 * 4 * 6, dtype=np.float32).reshape(3, 4, 6)
    net = ncnn.Net()
    assert net.load_param_mem(str(graph)) == 0
    assert net.load_model(ncnn.DataReaderFromEmpty()) == 0
    extractor = net.create_extractor()
    extractor.input("a", ncnn.Mat(picture).clone())
    found = np.array(extractor.extract("b")[1])
    # As Megvii's Focus: top left, bottom left, top right, bottom right.
    corners = [picture[:, y::2, x::2] for x in (0, 1) for y in (0, 1)]
    np.testing.assert_array_equal(found, np.concatenate(corners))
    del extractor


def test_the_model_of_an_android_port_detects_what_its_onnx_file_detects(
    data_file: Any, dog_path: Path
) -> None:
    with (
        pytest.warns(ModelWarning, match="yolox_nano_focus.param carries no spec"),
        pytest.warns(ModelWarning, match="ncnn has no layer YoloV5Focus; Reorg, Slice and Concat"),
    ):
        detector = Detector(
            data_file("foreign/yolox_nano_focus.param"), imgsz=416, legacy=True, threads=1
        )
    with detector, warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        found = detector(dog_path)
        path = data_file("foreign/yolox_nano_legacy_416.onnx")
        with Detector(path, legacy=True, threads=1) as original:
            expected = original(dog_path)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    # Its weights are in half precision.
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=2)


def test_unknown_layers_are_named(foreign: Any) -> None:
    path = foreign(lambda text: text.replace("Swish ", "Schwipp ").replace("Interp ", "Inter "))
    with pytest.raises(ArtifactError, match=r"this ncnn .* has no layer Schwipp or Inter: convert"):
        Detector(path, imgsz=416)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^7767517", "7767518", "not an NCNN param file"),
        (r"^294 331", "293 331", "announces 293 layers and 331 blobs and has 294 and 331"),
        (r"^294 331", "294 330", "announces 294 layers and 330 blobs"),
        (r"^294 331", "294", "line 2 does not have the numbers"),
        (r"in0 1 0=2", "in1 1 0=2", "line 4: its input 'in1' is made by no layer before it"),
        (r"1 1 1 2 0=16", "1 1 1 1 0=16", "line 5: an output of it has the name of another blob"),
        (r"1 1 1 2 0=16", "1 9 1 2 0=16", "line 5: .* as many inputs and outputs as it says"),
        (r"1 1 1 2 0=16", "x 1 1 2 0=16", "line 5: x 1 are no numbers"),
        (r"0=16 1=6", "0=16 1=six", "line 5: '1=six' is no number"),
        (r"0=16 1=6", "0=16 99=6", "line 5: '99=6' is no parameter"),
        (r"0=16 1=6", "0=16 -23301=2,6", "line 5: '-23301=2,6' announces another number"),
        (r"0=16 1=6", "0=0 1=6", "layer Convolution conv_115: 0=0, expected 1 to"),
        (r"13=2 ", "13=0 ", "layer Convolution conv_115: 13=0, expected 1 to 4096"),
        (r"6=1728", "6=2000000000", "6=2000000000, expected 1 to "),
        (r"6=1728", "6=1729", "it has 1729 weights, 3 channels need 1728"),
        (r" 6=1728", "", "conv_115: it has no parameter 6"),
        (r"9=4", "9=3", "its activation 3 needs numbers that are not there"),
        (r"(ConvolutionDepthWise .* 7=)\d+", r"\g<1>5", "channels in 5 groups"),
        (r"(Interp .*) 1=\S+", r"\1 1=1e30", "it resizes by"),
        (r"(Permute .*) 0=1", r"\1 0=17", r"order 17 of \(85, 3549\)"),
        (r"(Concat +cat_16 .*) 0=1", r"\1 0=0", r"it joins .* along axis 0"),
    ],
)
def test_a_graph_that_ncnn_must_not_see_is_refused(
    pattern: str, replacement: str, message: str, foreign: Any
) -> None:
    """Each would end the process, or make ncnn compute with memory that it does not own."""

    def change(text: str) -> str:
        changed, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert count
        return changed

    with pytest.raises(ArtifactError, match=message) as caught:
        Detector(foreign(change), imgsz=416)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("extra", "message"), [(-4, "cut off or"), (4, "has 4 bytes more than")])
def test_weights_that_are_not_all_used_belong_to_another_model(
    extra: int, message: str, foreign: Any
) -> None:
    path = foreign(str)
    weights = path.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(content[:extra] if extra < 0 else content + bytes(extra))
    with pytest.raises(ArtifactError, match=message):
        Detector(path, imgsz=416)
