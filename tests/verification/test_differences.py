"""``yolox-compare``: what two models detect differently, and why."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from yolox_deploy.cli.proof.compare import main
from yolox_deploy.export import TARGETS
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.spec import ModelSpec
from yolox_deploy.weights import BUNDLED, BUNDLED_ONNX

Graph = onnx.ModelProto


def compared(capsys: Any, a: Path, b: Path, *more: object) -> tuple[int, str]:
    code = main([str(word) for word in (a, b, "--threads", 1, *more)])
    return code, " ".join(capsys.readouterr().out.split())


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of an ONNX artifact with another graph, or whose spec states another input."""

    def give(
        source: Path = BUNDLED_ONNX, graph: Callable[[Graph], None] | None = None, **stated: Any
    ) -> Path:
        path, spec = tmp_path / "changed.onnx", ModelSpec.from_json(stored_spec(source) or "")
        shutil.copy(source, path)
        if graph:
            model = onnx.load(path)
            graph(model)
            onnx.save(model, path)
        TARGETS["onnx"].embed(path, replace(spec, input=replace(spec.input, **stated)))
        return path

    return give


def first_input(model: Graph, nodes: Callable[[str, str], list[onnx.NodeProto]]) -> None:
    """Put nodes between the graph's input and what takes it."""
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["inner" if given == name else given for given in node.input]
    for node in reversed(nodes(name, "inner")):
        model.graph.node.insert(0, node)


def flipped(model: Graph) -> None:
    names = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    (tensor,) = (t for t in model.graph.initializer if t.name == names[30])
    weights = numpy_helper.to_array(tensor).copy()
    weights.ravel()[np.abs(weights).argmax()] *= -1
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


def lower(model: Graph) -> None:
    """Pictures 32 pixels lower than at the top."""
    pads = numpy_helper.from_array(np.array([0, 0, 32, 0, 0, 0, -32, 0], np.int64), "by")
    grey = numpy_helper.from_array(np.float32(114), "grey")
    model.graph.initializer.extend([pads, grey])
    first_input(model, lambda a, b: [helper.make_node("Pad", [a, "by", "grey"], [b])])


def other_order(model: Graph) -> None:
    order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "order")
    model.graph.initializer.append(order)
    first_input(model, lambda a, b: [helper.make_node("Gather", [a, "order"], [b], axis=1)])


def test_the_same_detections_are_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = compared(capsys, BUNDLED, BUNDLED_ONNX, "--json", tmp_path / "found.json")
    assert code == 0
    assert "39 detections match on 5 pictures, 0 do not." in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["same"]
    assert 0 < found["comparison"]["score_difference"] < 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour_order": "RGB"}, "the colour order of A is BGR, that of B RGB"),
        ({"pad_value": 0}, "the pad value of A is 114, that of B 0"),
        (
            {"graph": flipped},
            r"weights \S+ differ in 1 of [\d,]+ values: \[\d+(, \d+){3}\] is (\S+) in A and -?\S+ "
            r"in B reason: the graphs part at the tensor \S+, made by Conv",
        ),
        (
            {"graph": lower},
            r"boxes of B lie 3\d pixels of the input lower and 0 .*: a shifted letterbox",
        ),
        ({"graph": other_order}, "with its colours in the order RGB it detects what A detects"),
    ],
    ids=["colours", "pad value", "one weight", "letterbox", "colours in the graph"],
)
def test_a_difference_is_named(
    changes: dict[str, Any], words: str, changed: Callable[..., Path], capsys: Any
) -> None:
    code, out = compared(capsys, BUNDLED_ONNX, changed(**changes))
    assert code == 5, out
    assert re.search(words, out), out


def test_clipped_boxes_are_named(changed: Callable[..., Path], model_for: Any, capsys: Any) -> None:
    source = model_for("onnxruntime", size=(224, 224), nms=True).path

    def clipped(model: Graph) -> None:
        most = np.array([9e9, 224, 224, 224, 224, 9e9, 9e9], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(most, "most"))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "least"))
        name = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["free" if given == name else given for given in node.output]
        model.graph.node.append(helper.make_node("Max", ["free", "least"], ["above"]))
        model.graph.node.append(helper.make_node("Min", ["above", "most"], [name]))

    code, out = compared(capsys, source, changed(source, clipped))
    assert "the boxes of B are clipped: they end at the border of the " in out, out
    assert code == 5


def test_the_worst_pictures_are_drawn_side_by_side(
    changed: Callable[..., Path], capsys: Any, tmp_path: Path
) -> None:
    other = changed(graph=other_order)
    for name in ("worst.html", "worst.png"):
        assert compared(capsys, BUNDLED_ONNX, other, "--draw", tmp_path / name)[0] == 5
    page = (tmp_path / "worst.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 1
    assert "reason: " in page
    image = cv2.imread(str(tmp_path / "worst.png"))
    assert image is not None
    assert image.shape[1] == 2 * 640 + 8


def test_an_original_export_is_compared_with_ours(
    model_for: Any, nano_onnx: Path, capsys: Any
) -> None:
    code, out = compared(capsys, nano_onnx, model_for("onnxruntime").path)
    assert (code, "27 detections match" in out) == (0, True)


def test_models_of_other_classes_are_refused(nano_onnx: Path, capsys: Any) -> None:
    assert main([str(BUNDLED_ONNX), str(nano_onnx), "--threads", "1"]) == 2
    assert "with 10 classes, B one for detect with 80" in capsys.readouterr().err
    assert main([str(BUNDLED_ONNX), str(BUNDLED_ONNX), "--draw", "worst.txt"]) == 7
    assert ".html" in capsys.readouterr().err
