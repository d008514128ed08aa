"""The ONNX graph that everything is converted from: what is asked for is what is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from yolox_deploy.errors import UsageError
from yolox_deploy.export.onnx import check_opset, embed_spec, make_hub, simplified
from yolox_deploy.export.prepare import prepare
from yolox_deploy.export.tails import with_tail
from yolox_deploy.models.checkpoint import Checkpoint, load_checkpoint
from yolox_deploy.packages import install_line
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.spec import SPEC_KEY, ModelSpec, SpecHints
from yolox_deploy.tasks.detect import Detect
from yolox_deploy.tasks.nms import nms

NOT_SQUARE = (96, 160)
ROWS = 12 * 20 + 6 * 10 + 3 * 5
Make = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="module")
def nano(nano_pth: Path) -> Checkpoint:
    return load_checkpoint(nano_pth)


@pytest.fixture(scope="module")
def spec(nano: Checkpoint) -> ModelSpec:
    return nano.spec(SpecHints(imgsz=NOT_SQUARE))


@pytest.fixture(scope="module")
def hub(nano: Checkpoint) -> Make:
    """Give the real nano as a graph of a small input, made once a request."""
    made: dict[str, onnx.ModelProto] = {}

    def give(batch: int | None = 1, opset: int = 17, **options: Any) -> onnx.ModelProto:
        key = f"{batch} {opset} {options}"
        if key not in made:
            spec = replace(nano.spec(SpecHints(imgsz=NOT_SQUARE)), batch=batch)
            network = prepare(nano.network, RAW_INPUT)
            made[key] = make_hub(network, spec, opset=opset, **options).model
        return made[key]

    return give


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def infer(model: onnx.ModelProto, images: Any) -> Any:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, {session.get_inputs()[0].name: images})
    return output


def pictures(count: int) -> Any:
    return np.random.default_rng(1).uniform(0, 255, (count, 3, *NOT_SQUARE)).astype(np.float32)


def expected(nano: Checkpoint, images: Any) -> Any:
    with torch.no_grad():
        return nano.network(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
def test_the_requested_opset_is_written_and_computes_the_same(
    opset: int, hub: Make, nano: Checkpoint
) -> None:
    model = hub(opset=opset)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    images = pictures(1)
    np.testing.assert_allclose(infer(model, images), expected(nano, images), rtol=0, atol=1e-3)


@pytest.mark.parametrize("opset", [-1, 0, 10, onnx.defs.onnx_opset_version() + 1, 10**6])
def test_an_opset_that_nobody_writes_is_refused(opset: int) -> None:
    with pytest.raises(UsageError, match=rf"11\.\..*{opset}"):
        check_opset(opset)


@pytest.mark.parametrize(
    ("opset", "batch", "stated"),
    [(17, None, "batch"), (17, 1, 1), (17, 3, 3), (18, None, "batch"), (18, 1, 1)],
)
def test_input_and_output_state_their_shapes(
    opset: int, batch: int | None, stated: int | str, hub: Make
) -> None:
    graph = hub(batch=batch, opset=opset).graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["images", "output"]
    assert shape_of(graph.input[0]) == [stated, 3, *NOT_SQUARE]
    assert shape_of(graph.output[0]) == [stated, ROWS, 85]


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_dynamic_graph_takes_any_number_of_pictures(
    opset: int, count: int, hub: Make, nano: Checkpoint
) -> None:
    images = pictures(count)
    found = infer(hub(batch=None, opset=opset), images)
    np.testing.assert_allclose(found, expected(nano, images), rtol=0, atol=1e-3)


def test_a_fixed_batch_takes_that_many_only(hub: Make) -> None:
    assert infer(hub(batch=3), pictures(3)).shape == (3, ROWS, 85)
    with pytest.raises(Exception, match="Got: 2 Expected: 3"):
        infer(hub(batch=3), pictures(2))


@pytest.mark.parametrize(("opset", "simplify"), [(11, True), (17, True), (17, False), (18, True)])
def test_the_stems_scale_survives(opset: int, simplify: bool, hub: Make) -> None:
    """Folded back into the weights it would undo the cure against FP16 underflow."""
    graph = hub(opset=opset, simplify=simplify).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    (first,) = (node for node in graph.node if "images" in node.input)
    assert first.op_type == "Mul"
    (scale,) = (constants[name] for name in first.input if name != "images")
    assert scale.item() == 1 / 256
    (conv,) = (node for node in graph.node if first.output[0] in node.input)
    assert conv.op_type == "Conv"
    assert constants[conv.input[1]].shape == (16, 3, 6, 6)
    assert np.abs(constants[conv.input[1]]).max() > 0.05


def test_simplifying_removes_nodes_and_changes_nothing(hub: Make) -> None:
    plain, smaller = hub(simplify=False), hub(simplify=True)
    assert len(smaller.graph.node) < len(plain.graph.node)
    images = pictures(1)
    np.testing.assert_allclose(infer(smaller, images), infer(plain, images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("opset", [17, 18])
def test_converters_meet_plain_layers_only(opset: int, hub: Make) -> None:
    kinds = {node.op_type for node in hub(opset=opset).graph.node}
    assert not kinds & {"BatchNormalization", "Slice", "If", "Loop"}


def refuses(model: Any, **_: Any) -> Any:
    raise RuntimeError("no such\noperator")


def differs(model: Any, **_: Any) -> Any:
    return model, False


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        (refuses, r"not simplified: onnxsim failed \(no such operator\)"),
        (differs, "not simplified: onnxsim's result differs from its input"),
    ],
)
def test_where_onnxsim_fails_the_graph_stays_and_a_sentence_says_so(
    behaviour: Any, sentence: str, hub: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ModuleType("onnxsim")
    broken.__dict__.update(simplify=behaviour, __spec__=sys.__spec__)
    monkeypatch.setitem(sys.modules, "onnxsim", broken)
    model = hub(simplify=False)
    result, note = simplified(model)
    assert result == model
    assert re.fullmatch(sentence, note)


def test_without_onnxsim_the_graph_stays_and_the_pip_line_is_given(
    hub: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    model = hub(simplify=False)
    result, note = simplified(model)
    assert result == model
    assert note.startswith("not simplified: onnxsim is missing")
    assert install_line("export") in note


def test_the_spec_lies_in_the_metadata_once(hub: Make, spec: ModelSpec) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(hub())
    onnx.helper.set_model_props(model, {"author": "somebody"})
    for name in ("first", "second"):
        embed_spec(model, replace(spec, name=name))
    entries = [(entry.key, entry.value) for entry in model.metadata_props]
    assert [key for key, _ in entries] == ["author", SPEC_KEY]
    assert ModelSpec.from_json(entries[1][1]).name == "second"


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("kind", ["decoded", "detections"])
def test_what_is_appended_states_its_shape_and_leaves_the_graph_alone(
    kind: Any, opset: int, hub: Make, spec: ModelSpec
) -> None:
    model = hub(batch=None, opset=opset)
    before = model.SerializeToString()
    thresholds = {"score_threshold": 0.3, "iou_threshold": 0.5} if kind == "detections" else {}
    longer = with_tail(model, replace(spec, batch=None, output=kind, **thresholds))
    assert model.SerializeToString() == before
    assert [value.name for value in longer.graph.output] == ["output"]
    assert [entry.version for entry in longer.opset_import] == [opset]
    stated = {"decoded": ["batch", ROWS, 85], "detections": ["detections", 7]}[kind]
    assert shape_of(longer.graph.output[0]) == stated


def test_raw_output_appends_nothing(hub: Make, spec: ModelSpec) -> None:
    assert with_tail(hub(), spec) is hub()


def head_rows(count: int, classes: int, spec: ModelSpec, seed: int = 0) -> Any:
    """Raw output with crowded boxes, so that the suppression has something to do."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, (count, spec.num_anchors, 5 + classes)).astype(np.float32)
    rows[..., :2] = rng.normal(0, 1, rows[..., :2].shape)
    rows[..., 2:4] = rng.normal(0.5, 0.7, rows[..., 2:4].shape)
    # Ties between classes and rows, as saturated sigmoids give them.
    rows[:, ::7, 5:] = 1.0
    rows[:, ::21, 4] = 1.0
    return rows


@pytest.fixture(scope="module")
def passing_through(spec: ModelSpec) -> onnx.ModelProto:
    """A graph that returns what it is given, in place of a network."""
    shape = ["batch", spec.num_anchors, 85]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("images", "output")
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["output"])], "g", values[:1], values[1:]
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


def test_decoding_in_the_graph_is_the_decoders(
    passing_through: onnx.ModelProto, spec: ModelSpec
) -> None:

    rows = head_rows(2, 80, spec)
    found = infer(with_tail(passing_through, replace(spec, batch=None, output="decoded")), rows)
    expected = Detect().decoder(spec).decode(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "thresholds", [(0.25, 0.45), (0.5, 0.65), (0.05, 0.3), (1.0, 0.45)], ids=str
)
def test_suppression_in_the_graph_is_the_detectors(
    thresholds: tuple[float, float], passing_through: onnx.ModelProto, spec: ModelSpec
) -> None:
    score, iou = thresholds
    rows = head_rows(2, 80, spec)
    wanted = replace(
        spec, batch=None, output="detections", score_threshold=score, iou_threshold=iou
    )
    found = infer(with_tail(passing_through, wanted), rows)
    decoder = Detect().decoder(spec)
    total = 0
    for i in range(2):
        candidates = decoder.candidates(rows[i], score)
        kept = nms(candidates.xyxy, candidates.scores, candidates.class_ids, iou)
        total += len(kept)
        mine = found[found[:, 0] == i]
        mine = mine[np.lexsort((mine[:, 1], mine[:, 6], -mine[:, 5]))]
        best = candidates[kept]
        boxes, scores, ids = best.xyxy, best.scores, best.class_ids
        order = np.lexsort((boxes[:, 0], ids, -scores))
        np.testing.assert_allclose(mine[:, 5], scores[order], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(mine[:, 6], ids[order])
        np.testing.assert_allclose(mine[:, 1:5], boxes[order], rtol=1e-4, atol=1e-3)
    assert total > 2
