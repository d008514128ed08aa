"""The nodes of a task's tail: decoding, and the suppression behind it, as small ONNX graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import task_of
from yolox_deploy.tasks.grid import grid_and_strides


class BoxTail:
    """The tail of a task whose rows begin with a box, an objectness and one score per class.

    Further columns pass the decoding as they are, and follow the class in a suppressed row.
    ``name`` is the task's.  A tail of other rows needs no more than ``name`` and the two methods.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(self, spec: ModelSpec) -> onnx.GraphProto:
        """Return the graph from raw output (N, A, width) to decoded output of the same shape."""
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

    def suppress(self, spec: ModelSpec) -> onnx.GraphProto:
        """Return the graph from decoded output to rows of the task's ``graph_columns``.

        One label per box, like the decoder: only a box's best class keeps its score.  ONNX
        suppresses ``score > threshold``, so the constant is the next number below the threshold.
        """
        task = task_of(spec)
        classes_end, more_nodes, more_parts = "end", "", ""
        constants = _slices()
        if task.graph_width(spec) > 7:
            classes_end, more_parts = "classes_end", ", picked_more"
            more_nodes = """
                more = Slice (decoded, classes_end, end, last)
                picked_more = GatherND (more, picture_row)"""
            constants["classes_end"] = _ints(task.columns(spec)["classes"].stop)
        graph = onnx.parser.parse_graph(
            f"""
            nms (float[N, A, K] decoded) => (float[D, {task.graph_width(spec)}] detections) {{
                boxes = Slice (decoded, zero, four, last)
                objectness = Slice (decoded, four, five, last)
                classes = Slice (decoded, five, {classes_end}, last)
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
                box = GatherND (boxes, picture_row){more_nodes}
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
                    (picture_number, first_corner, other_corner, score, class_number{more_parts})
            }}
            """
        )
        _add_constants(
            graph,
            **constants,
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
    bounds = {"zero": 0, "two": 2, "four": 4, "end": np.iinfo(np.int32).max, "last": 2}
    return {name: _ints(value) for name, value in bounds.items()}


def _add_constants(graph: onnx.GraphProto, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
