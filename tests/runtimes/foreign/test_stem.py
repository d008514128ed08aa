"""The first convolution of a graph, as it is read from the file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy.pictures.stem import find_input
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.onnx import OnnxFile, external_files
from yolox_deploy.runtimes.registry import BACKENDS

onnx = pytest.importorskip("onnx")
helper = onnx.helper

WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 6, 6)).astype(np.float32)
CONSTANTS = {
    "w": WEIGHT,
    "b": np.arange(1, 5, dtype=np.float32),
    "half": WEIGHT.astype(np.float16),
    "two": np.array([2], np.float32),
    "three": np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1),
    "scale": np.ones(4, np.float32),
    "mean": np.full(4, 7, np.float32),
    "variance": np.full(4, 9, np.float32),
}
CONV = ("Conv", ["x", "w", "b"], "y")


def graph(path: Path, nodes: list[Any], **how: Any) -> Path:
    """Write an ONNX file with these nodes, each a kind, inputs and an output."""
    made = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            made,
            "g",
            [value("x", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
            [value(nodes[-1][2], onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(v, k) for k, v in CONSTANTS.items()],
        )
    )
    onnx.save(model, path, **how)
    return path


@pytest.mark.parametrize(
    ("nodes", "weight"),
    [
        ([CONV], WEIGHT),
        ([("Cast", ["x"], "h"), ("Conv", ["h", "half"], "y")], WEIGHT.astype(np.float16)),
        ([("Mul", ["x", "two"], "m"), ("Conv", ["m", "w", "b"], "y")], 2 * WEIGHT),
        ([("Mul", ["two", "x"], "m"), ("Conv", ["m", "w", "b"], "y")], 2 * WEIGHT),
        ([("Mul", ["x", "three"], "m"), ("Conv", ["m", "w", "b"], "y")], None),
        ([("Sub", ["x", "three"], "m"), ("Conv", ["m", "w", "b"], "y")], None),
        ([("Mul", ["x", "x"], "m"), ("Conv", ["m", "w", "b"], "y")], None),
        ([("Sigmoid", ["w"], "s"), ("Conv", ["x", "s"], "y")], None),
        ([("Sigmoid", ["x"], "y")], None),
    ],
    ids=["plain", "half", "factor", "factor first", "colours", "mean", "square", "made", "none"],
)
def test_the_weights_count_if_the_picture_reaches_them_unchanged(
    nodes: list[Any], weight: Any, tmp_path: Path
) -> None:
    stem = OnnxFile(graph(tmp_path / "x.onnx", nodes)).stem()
    if weight is None:
        assert stem is None
    else:
        assert stem is not None
        np.testing.assert_array_equal(stem.weight, weight)


def test_a_bias_or_a_normalisation_of_its_own_belongs_to_it(tmp_path: Path) -> None:
    bare = ("Conv", ["x", "w"], "c")
    normalised = ("BatchNormalization", ["c", "scale", "b", "mean", "variance"], "y")
    stem = OnnxFile(graph(tmp_path / "a.onnx", [bare, ("Add", ["c", "b"], "y")])).stem()
    assert stem is not None
    np.testing.assert_array_equal(stem.bias, CONSTANTS["b"])
    stem = OnnxFile(graph(tmp_path / "b.onnx", [bare, normalised])).stem()
    assert stem is not None
    assert stem.bias is None
    np.testing.assert_array_equal(stem.mean, CONSTANTS["mean"])
    np.testing.assert_array_equal(stem.variance, CONSTANTS["variance"])


def test_a_damaged_file_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    content = graph(tmp_path / "x.onnx", [CONV]).read_bytes()
    choose = random.Random(0)
    read = refused = 0
    for _ in range(500):
        damaged = bytearray(content[: choose.randrange(1, len(content) + 1)])
        for _ in range(choose.randrange(4)):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        (tmp_path / "x.onnx").write_bytes(damaged)
        try:
            stem = OnnxFile(tmp_path / "x.onnx").stem()
        except (ValueError, LookupError):
            refused += 1
        else:
            read += stem is not None and find_input(*stem) is not None
    assert refused > 100
    assert read > 0


def test_files_that_hold_weights_are_named(tmp_path: Path) -> None:
    how = {"save_as_external_data": True, "location": "x.data", "size_threshold": 100}
    assert external_files(graph(tmp_path / "x.onnx", [CONV], **how)) == {tmp_path / "x.data"}
    assert external_files(graph(tmp_path / "y.onnx", [CONV])) == set()
    assert external_files(tmp_path / "x.data") == set()


@pytest.mark.parametrize("options", [{}, {"fp16": True}], ids=["fp32", "fp16"])
def test_all_engines_read_the_same(options: dict[str, Any], model_for: Any) -> None:
    stems: list[Stem] = []
    for backend in ("onnxruntime", "openvino", "ncnn"):
        path = model_for(backend, **options).path
        with BACKENDS[backend].runtime_class()(path, threads=1) as runtime:
            stem = runtime.read_stem()
        assert stem is not None
        assert stem.bias is not None
        stems.append(stem)
    for other in stems[1:]:
        np.testing.assert_allclose(other.weight, stems[0].weight, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(other.bias, stems[0].bias, rtol=1e-2, atol=1e-3)
    assert [find_input(*stem).legacy for stem in stems] == [False] * 3
