"""The hub: a prepared network as an ONNX graph, with the spec in its metadata.

Every other format is converted from this graph.  Decoding and NMS are appended as small ONNX
graphs of their own, so that they look the same whatever exporter or precision came before.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper

from yolox_deploy.errors import ConversionError, UsageError
from yolox_deploy.export.prepare import PreparedNetwork
from yolox_deploy.runtimes.base import one_line
from yolox_deploy.spec import SPEC_KEY, ModelSpec
from yolox_deploy.tasks.decoder import grid_and_strides

INPUT_NAME = "images"
OUTPUT_NAME = "output"

DEFAULT_OPSET = 17
OLDEST_OPSET = 11
# From here on PyTorch's current exporter writes the opset natively; it cannot go below.
DYNAMO_OPSET = 18


@dataclass(frozen=True)
class Hub:
    """An ONNX graph with raw output, and sentences about how it came to be."""

    model: onnx.ModelProto
    notes: tuple[str, ...]


def check_opset(opset: int) -> None:
    """Raise :class:`UsageError` for an opset that nobody here can write."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UsageError(f"opset must lie in {OLDEST_OPSET}..{newest}, got {opset}")


def make_hub(
    network: PreparedNetwork, spec: ModelSpec, *, opset: int = DEFAULT_OPSET, simplify: bool = True
) -> Hub:
    """Return the network as a checked ONNX graph of exactly the requested opset.

    Raises :class:`ConversionError` where PyTorch's exporters cannot give that opset.
    """
    model = _traced(network, spec, opset)
    written = next(entry.version for entry in model.opset_import if not entry.domain)
    if written != opset:
        raise ConversionError(
            f"PyTorch {torch.__version__} wrote opset {written} instead of {opset}: choose --opset "
            f"{written} or another one"
        )
    notes = []
    if simplify:
        model, note = simplified(model)
        if note:
            notes.append(note)
    _state_shapes(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return Hub(model, tuple(notes))


def _traced(network: PreparedNetwork, spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """Run the exporter that can write the opset; both are silenced, their errors are not."""
    images = torch.zeros(spec.batch or 2, 3, spec.height, spec.width)
    names: dict[str, Any] = {
        "input_names": [INPUT_NAME],
        "output_names": [OUTPUT_NAME],
        "opset_version": opset,
    }
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traced.onnx"
            if opset < DYNAMO_OPSET:
                axes = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}}
                torch.onnx.export(
                    network,
                    (images,),
                    file,
                    dynamo=False,
                    dynamic_axes=axes if spec.batch is None else None,
                    **names,
                )
            else:
                batch = {0: torch.export.Dim("batch", min=1, max=4096)}
                torch.onnx.export(
                    network,
                    (images,),
                    file,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                    dynamic_shapes=(batch,) if spec.batch is None else None,
                    **names,
                )
            return onnx.load_model(file)
    except Exception as error:
        raise ConversionError(
            f"PyTorch {torch.__version__} could not export opset {opset}: {one_line(error)}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back deprecation warnings and log lines that no user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def simplified(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Return the graph with constants folded by onnxsim, or as it was and a sentence why.

    onnxsim's fusions stay off: they would multiply the stem's scale back into its weights.
    """
    if importlib.util.find_spec("onnxsim") is None:
        return model, 'not simplified: onnxsim is missing, pip install "yolox-deploy[export]"'
    import onnxsim

    try:
        with _quiet():
            smaller, checked = onnxsim.simplify(model, perform_optimization=False)
        if not checked:
            return model, "not simplified: onnxsim's result differs from its input"
    except Exception as error:
        return model, f"not simplified: onnxsim failed ({one_line(error)})"
    del smaller.metadata_props[:]
    return smaller, ""


def _state_shapes(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the input's and output's shape as the spec knows them (exporters leave gaps)."""
    graph = model.graph
    shape = [spec.batch or "batch", 3, spec.height, spec.width]
    _set_shape(graph.input[0], shape)
    _set_shape(graph.output[0], _output_shape(spec))


def _output_shape(spec: ModelSpec) -> list[int | str]:
    if spec.output == "detections":
        return ["detections", 7]
    return [spec.batch or "batch", spec.num_anchors, 5 + spec.num_classes]


def _set_shape(value: onnx.ValueInfoProto, shape: list[int | str]) -> None:
    value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))


def with_tail(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Return the graph with what ``spec.output`` asks for appended: decoding, and then NMS."""
    if spec.output == "raw":
        return model
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    model = _appended(model, decode_graph(spec), opset)
    if spec.output == "detections":
        model = _appended(model, nms_graph(spec), opset)
    _set_shape(model.graph.output[0], _output_shape(spec))
    onnx.checker.check_model(model, full_check=True)
    return model


def _appended(model: onnx.ModelProto, tail: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    """Return ``model`` followed by ``tail``; its output is the only one, under the old name."""
    for node in tail.node:
        # Engines name their layers after the nodes; unnamed ones cannot be told apart.
        node.name = node.output[0]
    ending = helper.make_model(tail, opset_imports=[helper.make_opsetid("", opset)])
    ending.ir_version = model.ir_version
    ending = compose.add_prefix(ending, f"{tail.name}/")
    joint = ending.graph.input[0].name
    first = onnx.ModelProto()
    first.CopyFrom(model)
    _rename(first.graph, OUTPUT_NAME, joint)
    joined = compose.merge_models(first, ending, io_map=[(joint, joint)])
    joined.producer_name, joined.producer_version = model.producer_name, model.producer_version
    # Merging adds an entry each time; the standard has one a domain.
    del joined.opset_import[:]
    joined.opset_import.append(helper.make_opsetid("", opset))
    _rename(joined.graph, joined.graph.output[0].name, OUTPUT_NAME)
    return joined


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in graph.output:
        value.name = new if value.name == old else value.name


def decode_graph(spec: ModelSpec) -> onnx.GraphProto:
    """Return the graph from raw to decoded output, the decoder's two formulas."""
    grid, stride = grid_and_strides(spec.height, spec.width, spec.strides)
    graph = onnx.parser.parse_graph(
        """
        decode (float[N, A, K] raw) => (float[N, A, K] decoded) {
            raw_xy = Slice (raw, zero, two, last)
            raw_wh = Slice (raw, two, four, last)
            scores = Slice (raw, four, end, last)
            cell = Add (raw_xy, grid)
            centre = Mul (cell, stride)
            factor = Exp (raw_wh)
            size = Mul (factor, stride)
            decoded = Concat <axis = 2> (centre, size, scores)
        }
        """
    )
    _add_constants(graph, grid=grid[None], stride=stride[None], **_slices())
    return graph


def nms_graph(spec: ModelSpec) -> onnx.GraphProto:
    """Return the graph from decoded output to rows of picture, x1, y1, x2, y2, score, class.

    One label a box, like the decoder: only a box's best class keeps its score.  ONNX suppresses
    ``score > threshold``, so the constant is the next number below the threshold.
    """
    graph = onnx.parser.parse_graph(
        """
        nms (float[N, A, K] decoded) => (float[D, 7] detections) {
            boxes = Slice (decoded, zero, four, last)
            objectness = Slice (decoded, four, five, last)
            classes = Slice (decoded, five, end, last)
            best, best_id = TopK <axis = 2> (classes, one)
            is_best = Equal (class_ids, best_id)
            every_score = Mul (objectness, classes)
            best_scores = Where (is_best, every_score, nothing)
            scores = Transpose <perm = [0, 2, 1]> (best_scores)
            picked = NonMaxSuppression <center_point_box = 1>
                (boxes, scores, most, iou_threshold, score_threshold)
            picture = Slice (picked, zero, one, second)
            class = Slice (picked, one, two, second)
            row = Slice (picked, two, three, second)
            picture_row = Concat <axis = 1> (picture, row)
            box = GatherND (boxes, picture_row)
            centre = Slice (box, zero, two, second)
            size = Slice (box, two, four, second)
            half = Mul (size, a_half)
            first_corner = Sub (centre, half)
            other_corner = Add (centre, half)
            flat_score = GatherND (scores, picked)
            score = Reshape (flat_score, column)
            picture_number = Cast <to = 1> (picture)
            class_number = Cast <to = 1> (class)
            detections = Concat <axis = 1>
                (picture_number, first_corner, other_corner, score, class_number)
        }
        """
    )
    _add_constants(
        graph,
        **_slices(),
        one=_ints(1),
        three=_ints(3),
        five=_ints(5),
        second=_ints(1),
        column=_ints(-1, 1),
        class_ids=np.arange(spec.num_classes, dtype=np.int64)[None, None],
        nothing=np.zeros(1, np.float32),
        a_half=np.full(1, 0.5, np.float32),
        most=_ints(spec.num_anchors),
        iou_threshold=_floats(spec.iou_threshold),
        score_threshold=np.nextafter(_floats(spec.score_threshold), np.float32(-1)),
    )
    return graph


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _floats(*values: float | None) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def _slices() -> dict[str, NDArray[np.int64]]:
    end = np.iinfo(np.int32).max
    return {
        "zero": _ints(0),
        "two": _ints(2),
        "four": _ints(4),
        "end": _ints(end),
        "last": _ints(2),
    }


def _add_constants(graph: onnx.GraphProto, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        graph.initializer.append(numpy_helper.from_array(array, name))


def embed_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the spec into the graph's metadata, replacing an earlier one."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries[SPEC_KEY] = spec.to_json()
    del model.metadata_props[:]
    helper.set_model_props(model, entries)
