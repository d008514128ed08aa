"""ModelSpec: round trip, what it refuses, what it infers, what hints may say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_deploy import ModelSpec
from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import ArtifactError, UsageError, YoloxDeployError
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.spec import (
    SEAL,
    SPEC_VERSION,
    SpecHints,
    check_size,
    default_class_names,
    seal,
    stated_hashes,
)
from yolox_deploy.tasks.describe import describe
from yolox_deploy.tasks.foreign import inferred_spec

FULL = ModelSpec(
    name="shelf",
    class_names=("tin", "bötle", '"quoted"\n'),
    height=384,
    width=640,
    batch=4,
    strides=(8, 16, 32),
    input=LEGACY_INPUT,
    output="detections",
    precision="fp16",
    score_threshold=0.25,
    iou_threshold=0.45,
    architecture="nano",
    checkpoint_sha256="ab" * 32,
    tools={"torch": "2.13"},
    verification={"status": "passed", "summary": "3 pictures", "outputs": {"max": 1e-5}},
    assumed=("class_names",),
)
PLAIN = ModelSpec("plain", ("a", "b"), 416, 416)


def test_an_input_that_fills_the_memory_is_refused() -> None:
    """A spec may say anything; its input would be allocated."""
    assert replace(PLAIN, batch=1024).batch == 1024
    with pytest.raises(UsageError, match="a batch of 4096 pictures of 416x416 would take 8,506,"):
        replace(PLAIN, batch=4096)


@pytest.mark.parametrize(
    "spec",
    [
        FULL,
        PLAIN,
        replace(PLAIN, batch=None, pixels=True),
        replace(PLAIN, suggested_score_threshold=0.4),
    ],
)
def test_json_gives_the_same_spec_back(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert json.loads(text)["version"] == SPEC_VERSION
    assert ModelSpec.from_json(text) == spec
    stated = spec.suggested_score_threshold is not None
    assert ("suggested_score_threshold" in json.loads(text)) == stated
    assert ("score threshold" in dict(describe(spec))) == stated


def sealed(content: dict[str, Any]) -> str:
    """Return the JSON of a spec with the seal that its content deserves."""
    return json.dumps({**content, SEAL: seal(content)})


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    content = {**json.loads(FULL.to_json()), "added_later": {"x": [1]}}
    assert ModelSpec.from_json(sealed(content)) == FULL


def test_a_spec_of_the_first_version_has_no_seal() -> None:
    content = {**json.loads(FULL.to_json({"bin": "ab" * 32})), "version": 1}
    assert content.pop(SEAL)
    assert ModelSpec.from_json(json.dumps(content)) == FULL


@pytest.mark.parametrize("changes", [{"name": "other"}, {"files": {}}, {SEAL: ""}, {"x": 1}])
def test_a_spec_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    text = FULL.to_json({"bin": "ab" * 32})
    assert stated_hashes(text) == {"bin": "ab" * 32}
    content = {**json.loads(text), **changes}
    for read in (ModelSpec.from_json, stated_hashes):
        with pytest.raises(ArtifactError, match=r"x\.onnx: .* changed after .* expected .*--names"):
            read(json.dumps(content), "x.onnx")
    del content[SEAL]
    with pytest.raises(ArtifactError, match="damaged"):
        ModelSpec.from_json(json.dumps(content))


def test_a_later_version_is_refused_with_what_to_do() -> None:
    content = {**json.loads(FULL.to_json()), "version": SPEC_VERSION + 1}
    with pytest.raises(ArtifactError, match="pip install --upgrade") as caught:
        ModelSpec.from_json(json.dumps(content), "x.onnx")
    assert "x.onnx" in str(caught.value)


def lie(**changes: Any) -> str:
    return sealed({**json.loads(FULL.to_json()), **changes})


def input_lie(**changes: Any) -> str:
    return lie(input={**json.loads(FULL.to_json())["input"], **changes})


WITHOUT_NAMES = json.loads(FULL.to_json())
del WITHOUT_NAMES["class_names"]

LIES: dict[str, str] = {
    "empty": "",
    "no json": "{",
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "no version": "{}",
    "deep nesting": "[" * 100_000,
    "deep nesting of objects": '{"a":' * 100_000,
    "a number of many digits": lie(height=0).replace('"height": 0', '"height": ' + "9" * 10_000),
    "no class names": sealed(WITHOUT_NAMES),
    **{f"version {v!r}": lie(version=v) for v in (0, -1, "1", None, 1.5)},
    **{
        f"{field} {value!r}": lie(**{field: value})
        for field, values in {
            "class_names": ([], "abc", [1, 2], None, {"a": 1}),
            "height": (0, -32, 100, 32.0, "416", None, 10**9, math.inf, True),
            "width": (0, 33, [416], 16416),
            "batch": (0, -1, "2", 1.5, 10**6, [1], False),
            "strides": ([], [0], [-8], "8", [8.0], [8, 16, 4096], None, {}),
            "output": ("boxes", None, 3, ["raw"]),
            "precision": ("fp64", None, []),
            "name": (5, None, ["a"]),
            "architecture": (5, ["nano"]),
            "checkpoint_sha256": (5, {}),
            "tools": ([1], "torch", 3, None),
            "verification": ("yes", [1], 3),
            "score_threshold": ("0.5", [0.5], math.nan, -1, 2),
            "iou_threshold": ("0.5", math.inf),
            "assumed": ("all", [1], 5),
            "input": (None, [], "BGR", {}),
        }.items()
        for value in values
    },
    **{
        f"input {field} {value!r}": input_lie(**{field: value})
        for field, values in {
            "colour_order": ("GBR", None, 1, ["BGR"]),
            "scale": ("x", None, [1], math.nan, math.inf),
            "mean": ([], [1, 2], [1, 2, 3, 4], 5, None, ["a", 1, 2], [math.nan, 0, 0]),
            "std": ([0, 1, 1], [1, 1], [1, 1, math.nan], [1, math.inf, 1]),
            "pad_value": (-1, 256, "grey", None, math.inf, math.nan),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("kind", LIES)
def test_a_spec_that_lies_is_refused_by_an_error_that_names_the_file(kind: str) -> None:
    with pytest.raises(ArtifactError, match=r"shelf\.onnx"):
        ModelSpec.from_json(LIES[kind], "shelf.onnx")


JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(json.loads(FULL.to_json()))), value=JSON_VALUE)
def test_whatever_a_field_holds_it_is_refused_or_can_be_described(field: str, value: Any) -> None:
    try:
        spec = ModelSpec.from_json(lie(**{field: value}))
    except ArtifactError:
        return
    assert all(isinstance(text, str) for row in describe(spec) for text in row)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_derived_facts() -> None:
    assert (FULL.num_classes, FULL.legacy, PLAIN.legacy) == (3, True, False)
    assert PLAIN.num_anchors == 3549
    assert replace(PLAIN, height=640, width=640).num_anchors == 8400
    assert FULL.num_anchors == 80 * 48 + 40 * 24 + 20 * 12


def test_a_person_reads_what_matters() -> None:
    text = "\n".join(": ".join(row) for row in describe(FULL))
    for part in ("384 high x 640 wide", "batch 4", "RGB", "legacy", "fp16", "3: tin", "ab" * 32,
                 "torch 2.13", "passed: 3 pictures", "0.25", "0.45", "nano"):  # fmt: skip
        assert part in text
    text = "\n".join(": ".join(row) for row in describe(replace(PLAIN, batch=None)))
    for part in ("dynamic", "BGR 0..255", "raw", "not verified", "padded with 114"):
        assert part in text
    assert "assumed" not in text


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (400, 416, "height 400 .* use 384 or 416"),
        (416, 650, "width 650 .* use 640 or 672"),
        (20, 416, "use 32"),
        (0, 416, "height"),
        (416, -32, "width"),
        (16416, 416, "16384"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_the_nearest(
    height: int, width: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_size(height, width)
    with pytest.raises(UsageError, match=message):
        replace(PLAIN, height=height, width=width)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ()},
        {"class_names": ("a",) * 100_001},
        {"strides": ()},
        {"strides": (0, 8)},
        {"batch": 0},
        {"output": "boxes"},
        {"precision": "int3"},
        {"input": InputConvention(pad_value=300)},
        {"input": InputConvention("GBR")},  # type: ignore[arg-type]
        {"input": InputConvention(std=(1, 0, 1))},
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("inputs", "outputs", "imgsz", "expected"),
    [
        ((1, 3, 416, 416), (1, 3549, 85), None, (416, 416, 1, COCO_NAMES)),
        ((1, 3, 384, 640), (1, 5040, 6), None, (384, 640, 1, ("class_0",))),
        ((None, 3, 416, 416), (None, None, 12), None, (416, 416, None, 7)),
        ((8, None, 640, 640), (8, 8400, 85), None, (640, 640, 8, COCO_NAMES)),
        ((None, 3, None, None), (None, None, 85), (384, 640), (384, 640, None, COCO_NAMES)),
    ],
)
def test_a_spec_is_inferred_from_shapes(
    inputs: Any, outputs: Any, imgsz: Any, expected: tuple[int, int, int | None, Any]
) -> None:
    spec = inferred_spec("x", inputs, outputs, imgsz)
    height, width, batch, names = expected
    assert (spec.height, spec.width, spec.batch) == (height, width, batch)
    assert (spec.num_classes if isinstance(names, int) else spec.class_names) == names
    assert (spec.output, spec.input) == ("raw", RAW_INPUT)
    assert set(spec.assumed) == {"class_names", "input", "output", "strides"}
    assert dict(describe(spec))["assumed"].startswith("class_names")


@pytest.mark.parametrize(
    ("inputs", "outputs", "imgsz"),
    [
        ((1, 3, 224, 224), (1, 1000), None),
        ((1, 1, 416, 416), (1, 3549, 85), None),
        ((1, 416, 416, 3), (1, 3549, 85), None),
        ((3, 416, 416), (1, 3549, 85), None),
        ((1, 3, 416, 416), (1, 3549, 5), None),
        ((1, 3, 416, 416), (1, 3549, None), None),
        ((1, 3, 416, 416), (1, 3548, 85), None),
        ((1, 3, 416, 416), (1, 85, 3549), None),
        ((1, 3, 400, 416), (1, 3549, 85), None),
        ((1, 3, None, None), (1, None, 85), None),
        ((1, 3, None, None), (1, None, 85), (100, 100)),
        ((0, 3, 416, 416), (0, 3549, 85), None),
        ((1, 3, 416, 416), (1, 3549, 10**7), None),
    ],
)
def test_shapes_of_another_network_are_refused(inputs: Any, outputs: Any, imgsz: Any) -> None:
    with pytest.raises(ArtifactError, match="stranger"):
        inferred_spec("stranger", inputs, outputs, imgsz)


INFERRED = inferred_spec("x", (1, 3, 416, 416), (1, 3549, 7))


def test_hints_complete_what_a_file_does_not_state() -> None:
    hints = SpecHints((416, 416), ("a", "b"), legacy=True, decoded=True)
    spec = hints.apply(INFERRED)
    assert (spec.class_names, spec.input, spec.output) == (("a", "b"), LEGACY_INPUT, "decoded")
    assert SpecHints().apply(FULL) == FULL
    agreeing = SpecHints((384, 640), FULL.class_names, legacy=True, decoded=True)
    assert agreeing.apply(FULL) == FULL


@pytest.mark.parametrize(
    ("spec", "hints"),
    [
        (FULL, SpecHints(imgsz=(640, 384))),
        (FULL, SpecHints(names=("a",))),
        (FULL, SpecHints(legacy=False)),
        (PLAIN, SpecHints(legacy=True)),
        (PLAIN, SpecHints(decoded=True)),
        (FULL, SpecHints(decoded=False)),
        (INFERRED, SpecHints(names=("a", "b", "c"))),
        (INFERRED, SpecHints(imgsz=(384, 416))),
    ],
)
def test_hints_that_contradict_the_file_are_refused(spec: ModelSpec, hints: SpecHints) -> None:
    with pytest.raises(UsageError):
        hints.apply(spec)


def test_default_class_names() -> None:
    assert default_class_names(80) == COCO_NAMES
    assert len(set(COCO_NAMES)) == 80
    assert default_class_names(2) == ("class_0", "class_1")
    with pytest.raises(YoloxDeployError):
        default_class_names(0)


def test_the_largest_input_value_tells_raw_from_normalised() -> None:
    assert RAW_INPUT.largest_value == 255
    assert LEGACY_INPUT.largest_value == pytest.approx((1 - 0.406) / 0.225)
