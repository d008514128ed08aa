"""The INT8 graph: what is rounded and what never is, and that engines compute what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from yolox_deploy.errors import InputFileError, ModelWarning, UsageError
from yolox_deploy.export.quantization.calibration import (
    Pictures,
    calibration_pictures,
    find_ranges,
)
from yolox_deploy.export.quantization.graph import PREDICTIONS, Quantizable, Ranges, block_of
from yolox_deploy.export.quantization.layout import ONNX_RUNTIME, OPENVINO, TENSORRT, Layout
from yolox_deploy.files import ASSETS
from yolox_deploy.spec import ModelSpec

LAYOUTS = {layout.name: layout for layout in (ONNX_RUNTIME, OPENVINO, TENSORRT)}


@pytest.fixture(scope="module")
def floating(nano_hub: Any) -> onnx.ModelProto:
    model = onnx.load(nano_hub.path)
    del model.metadata_props[:]
    return model


@pytest.fixture(scope="module")
def ranges(floating: onnx.ModelProto, nano_spec: ModelSpec, dog_path: Path) -> Ranges:
    tensors = sorted(Quantizable.of(floating, nano_spec.strides, ONNX_RUNTIME).rounded(()))
    return find_ranges(floating, tensors, Pictures({1: dog_path}, nano_spec), lambda *_: None)


Made = Callable[..., onnx.ModelProto]


@pytest.fixture
def made(floating: onnx.ModelProto, nano_spec: ModelSpec, ranges: Ranges) -> Made:
    def give(layout: Layout, *left: str) -> onnx.ModelProto:
        graph = Quantizable.of(floating, nano_spec.strides, layout)
        units = [unit for unit in graph.names() if block_of(unit) in left]
        return graph.quantized(ranges, units)

    return give


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_convolution_is_rounded_and_nothing_behind_the_predictions(
    layout: Layout, made: Made
) -> None:
    model = made(layout)
    made_by = makers(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            kinds = [made_by[name].op_type for name in node.input[:2]]
            assert kinds == ["DequantizeLinear", "DequantizeLinear"], node.name
    ends = [node for node in model.graph.node if node.op_type in ("Reshape", "Transpose")]
    joins = [made_by[node.input[0]] for node in ends if node.op_type == "Reshape"]
    assert len(joins) == 3
    for join in joins:
        boxes, *scores = (made_by[name].op_type for name in join.input)
        assert (boxes, scores) == ("Conv", ["Sigmoid", "Sigmoid"])


def test_a_block_in_floating_point_is_as_it_was(made: Made, floating: onnx.ModelProto) -> None:
    model = made(ONNX_RUNTIME, "stem", "dark2")
    before = {node.name: node for node in floating.graph.node}
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and ("stem/" in node.name or "/dark2/" in node.name):
            assert node == before[node.name]
            assert node.input[1] in weights


def test_weights_have_a_scale_per_channel_and_lose_at_most_half_a_step(
    made: Made, floating: onnx.ModelProto
) -> None:
    before = {t.name: numpy_helper.to_array(t) for t in floating.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in made(OPENVINO).graph.initializer}
    names = [name for name in before if f"{name}/bytes" in after]
    assert len(names) == 113
    for name in names:
        steps = after[f"{name}/scale"][:, None, None, None]
        levels = after[f"{name}/bytes"]
        assert levels.dtype == np.int8
        assert levels.min() >= -127
        assert np.abs(levels * steps - before[name]).max() <= 0.501 * steps.max()


def test_tensorrt_gets_no_zero_points(made: Made) -> None:
    model = made(TENSORRT)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_ranges_of_another_graph_are_refused(
    floating: onnx.ModelProto, nano_spec: ModelSpec, ranges: Ranges
) -> None:
    graph = Quantizable.of(floating, nano_spec.strides, OPENVINO)
    few = dict(list(ranges.items())[:10])
    with pytest.raises(UsageError, match="the calibration is of another graph"):
        graph.quantized(few, ())


def test_the_predictions_are_a_block_of_their_own(
    floating: onnx.ModelProto, nano_spec: ModelSpec
) -> None:
    names = Quantizable.of(floating, nano_spec.strides, OPENVINO).names()
    assert sum(block_of(name) == PREDICTIONS for name in names) == 9
    assert list(dict.fromkeys(map(block_of, names)))[:6] == [
        "stem", "dark2", "dark3", "dark4", "dark5", "neck",
    ]  # fmt: skip


def test_pictures_for_different_uses_are_not_the_same(nano_spec: ModelSpec) -> None:
    pictures = Pictures({i: Path(f"{i}.jpg") for i in range(1, 11)}, nano_spec)
    parts = [set(pictures.part(places, 4).files) for places in ((0,), (1, 2), (3,))]
    assert parts == [{1, 5, 9}, {2, 3, 6, 7, 10}, {4, 8}]


def test_few_pictures_are_noted_and_too_few_refused(tmp_path: Path, nano_spec: ModelSpec) -> None:
    with pytest.raises(InputFileError, match="no such folder"):
        calibration_pictures(tmp_path / "none", nano_spec)
    with pytest.raises(InputFileError, match="0 pictures; INT8 needs at least 8"):
        calibration_pictures(tmp_path, nano_spec)
    picture = next(ASSETS.glob("*.jpg"))
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture" if number < 1 else b"")
    with pytest.raises(InputFileError, match=r"0 pictures \(8 cannot be read\)"):
        calibration_pictures(tmp_path, nano_spec)
    for number in range(1, 9):
        (tmp_path / f"{number}.jpg").write_bytes(picture.read_bytes())
    with pytest.warns(ModelWarning, match=r"8 pictures \(1 cannot be read\) are few for INT8"):
        assert len(calibration_pictures(tmp_path, nano_spec)) == 8
