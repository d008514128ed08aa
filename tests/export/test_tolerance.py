"""What a comparison counts and what a tolerance objects to, on cases small enough to check."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from yolox_deploy.export import Verification
from yolox_deploy.spec import ModelSpec, Precision
from yolox_deploy.tasks import Comparison, Detect, Tolerance
from yolox_deploy.tasks.proof import Verdict
from yolox_deploy.verification.compare import compare
from yolox_deploy.verification.verify import coarser

# One class pair, 64x64: 8 * 8 + 4 * 4 + 2 * 2 rows.
SPEC = ModelSpec("small", ("cat", "dog"), 64, 64, None, output="decoded")
ROWS = SPEC.num_anchors
TASK = Detect()
TOLERANCES = TASK.tolerances
LIMITS = Tolerance(
    {
        "raw": 0.1,
        "faint": 0.5,
        "score_mean": 0.005,
        "score": 0.01,
        "probability": 0.05,
        "faint_probability": 0.5,
        "box": 0.02,
        "iou": 0.95,
        "share": 0,
        "borderline": 0.1,
    },
    reason="for these tests",
)
Box = tuple[float, float, float, float, float, int]


def picture(*boxes: Box) -> Any:
    """One picture's decoded rows: ``boxes`` are centre, size, score and class."""
    rows = np.zeros((1, ROWS, 7), np.float32)
    rows[..., 2:4] = 8
    for i, (x, y, w, h, score, label) in enumerate(boxes):
        rows[0, 5 * i, :5] = x, y, w, h, score
        rows[0, 5 * i, 5 + label] = 1
    return rows


def raw(decoded: Any) -> Any:
    """The raw output that decodes to these rows."""
    decoder = TASK.decoder(SPEC)
    result = decoded.copy()
    result[..., :2] = decoded[..., :2] / decoder.stride - decoder.grid
    result[..., 2:4] = np.log(decoded[..., 2:4] / decoder.stride)
    return result


def compared(mine: Any, theirs: Any, spec: ModelSpec = SPEC) -> Comparison:
    found = TASK.new_comparison()
    compare(found, spec, mine, raw(theirs), LIMITS)
    return found


def counts(found: Comparison) -> tuple[int, ...]:
    return tuple(int(found[name]) for name in ("detections", "missed", "extra", "borderline"))


CAT: Box = (20, 20, 16, 16, 0.9, 0)
DOG: Box = (40, 40, 20, 12, 0.8, 1)


def changed(box: Box, **values: float) -> Box:
    fields = dict(zip(("x", "y", "w", "h", "score", "label"), box, strict=True))
    return tuple({**fields, **values}.values())  # type: ignore[return-value]


CASES = {
    "the same": ([CAT, DOG], [CAT, DOG], (2, 0, 0, 0)),
    "nothing on either side": ([], [], (0, 0, 0, 0)),
    "one missed": ([CAT], [CAT, DOG], (2, 1, 0, 0)),
    "one extra": ([CAT, DOG], [CAT], (1, 0, 1, 0)),
    "all missed": ([], [CAT, DOG], (2, 2, 0, 0)),
    "another class": ([changed(CAT, label=1)], [CAT], (1, 1, 1, 0)),
    "another place": ([changed(CAT, x=44)], [CAT], (1, 1, 1, 0)),
    "just below the threshold": (
        [changed(CAT, score=0.246)],
        [changed(CAT, score=0.252)],
        (1, 0, 0, 1),
    ),
    "just above the threshold": (
        [changed(CAT, score=0.252)],
        [changed(CAT, score=0.246)],
        (0, 0, 0, 1),
    ),
    "too far below": ([changed(CAT, score=0.239)], [changed(CAT, score=0.29)], (1, 1, 0, 0)),
    "too far above": ([changed(CAT, score=0.29)], [changed(CAT, score=0.249)], (0, 0, 1, 0)),
    "two of a kind": ([CAT, changed(CAT, x=44)], [CAT, changed(CAT, x=44)], (2, 0, 0, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_detections_are_matched_and_counted(case: str) -> None:
    mine, theirs, expected = CASES[case]
    assert counts(compared(picture(*mine), picture(*theirs))) == expected


@pytest.mark.parametrize("case", CASES)
def test_raw_output_is_judged_like_decoded(case: str) -> None:
    mine, theirs, expected = CASES[case]
    found = compared(raw(picture(*mine)), picture(*theirs), replace(SPEC, output="raw"))
    assert counts(found) == expected


def test_a_tie_in_the_suppression_is_no_problem() -> None:
    """Of two overlapping boxes with nearly the same score each side keeps another one."""
    here, there = changed(CAT, score=0.801), changed(CAT, x=24, score=0.800)
    found = compared(picture(here, there), picture(changed(here, score=0.799), there))
    assert found["score_difference"] == pytest.approx(0.002, abs=1e-5)
    assert TASK.problems(found, LIMITS) == []


def test_a_suppressed_box_that_comes_back_is_a_problem() -> None:
    """As from a suppression that does nothing."""
    twin = changed(CAT, x=22, score=0.6)
    spec = replace(SPEC, output="detections", score_threshold=0.25, iou_threshold=0.45)
    found = compared(suppressed_rows(CAT, twin), picture(CAT, twin), spec)
    assert TASK.problems(found, LIMITS)


def test_moved_boxes_are_a_problem() -> None:
    moved = [changed(box, x=box[0] + 2) for box in (CAT, DOG)]
    assert TASK.problems(compared(picture(*moved), picture(CAT, DOG)), LIMITS)


def test_moved_boxes_behind_suppression_are_a_problem() -> None:
    moved = [changed(box, x=box[0] + 2) for box in (CAT, DOG)]
    spec = replace(SPEC, output="detections", score_threshold=0.25, iou_threshold=0.45)
    assert TASK.problems(compared(suppressed_rows(*moved), picture(CAT, DOG), spec), LIMITS)


def suppressed_rows(*boxes: Box) -> Any:
    """What an artifact with NMS in its graph returns for one picture."""
    rows = [(0, x - w / 2, y - h / 2, x + w / 2, y + h / 2, s, c) for x, y, w, h, s, c in boxes]
    return np.array(rows, np.float32).reshape(-1, 7)


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith(("just", "too far"))])
def test_detections_of_the_graph_are_judged_likewise(case: str) -> None:
    mine, theirs, expected = CASES[case]
    spec = replace(SPEC, output="detections", score_threshold=0.25, iou_threshold=0.45)
    assert counts(compared(suppressed_rows(*mine), picture(*theirs), spec)) == expected


@pytest.mark.parametrize(
    ("score", "theirs", "expected"),
    [
        (0.251, 0.249, (0, 0, 0, 1)),
        (0.4, 0.1, (0, 0, 1, 0)),
        (None, 0.252, (1, 0, 0, 1)),
        (None, 0.3, (1, 1, 0, 0)),
    ],
)
def test_behind_suppression_only_the_threshold_excuses(
    score: float | None, theirs: float, expected: tuple[int, ...]
) -> None:
    spec = replace(SPEC, output="detections", score_threshold=0.25, iou_threshold=0.45)
    mine = suppressed_rows(*([] if score is None else [changed(CAT, score=score)]))
    assert counts(compared(mine, picture(changed(CAT, score=theirs)), spec)) == expected


def test_the_lowest_overlap_and_the_largest_differences_are_kept() -> None:
    found = compared(picture(changed(CAT, x=22, score=0.85), DOG), picture(CAT, DOG))
    # Two of 16 pixels moved: 14 / 18 overlap.
    assert found["lowest_iou"] == pytest.approx(14 / 18, abs=1e-4)
    assert found["score_difference"] == pytest.approx(0.05, abs=1e-5)
    assert found["score_mean"] == pytest.approx(0.025, abs=1e-5)
    # One centre moved by a quarter of its cell of 8 pixels; of two rows, weighted by their scores.
    assert found["raw_rms"] == pytest.approx((0.25**2 / 4 * 0.9 / (0.9 + 0.8)) ** 0.5, abs=1e-5)
    assert found["faint_rms"] == 0
    assert found["box_pixels"] == pytest.approx(2, abs=1e-4)
    # Relative to 32 pixels where the box is smaller.
    assert found["box_difference"] == pytest.approx(2 / 32, abs=1e-4)


def test_boxes_of_rows_that_never_count_are_not_compared() -> None:
    faint = changed(CAT, score=0.01)
    found = compared(picture(changed(faint, x=50)), picture(faint))
    assert found["box_difference"] == 0
    assert found["raw_absolute"] == pytest.approx(30, abs=1e-3)


def test_probabilities_are_compared_where_their_product_can_count() -> None:
    mine, theirs = picture(CAT), picture(CAT)
    mine[0, 0, 4], mine[0, 0, 5] = 0.96, 0.9375
    found = compared(mine, theirs)
    assert found["probability_difference"] == pytest.approx(0.0625, abs=1e-6)
    assert found["score_difference"] < 1e-6
    mine[0, 3, 5] = theirs[0, 9, 4] = 0.25
    more = compared(mine, theirs)
    assert more["probability_difference"] == found["probability_difference"]
    assert more["faint_probability"] == pytest.approx(0.25, abs=1e-6)


def test_rows_that_nobody_reads_have_a_limit_of_their_own() -> None:
    """What they say may differ a lot, and they may not rise."""
    faint = changed(CAT, score=9e-4)
    mine = picture(DOG, changed(faint, x=22))
    found = compared(mine, picture(DOG, faint))
    assert found["raw_rms"] < 1e-6
    assert found["faint_rms"] == pytest.approx((0.25**2 / 4 / (ROWS - 1)) ** 0.5, abs=1e-6)
    assert TASK.problems(found, LIMITS) == []
    # The same rows when one side alone raises them to where they are read.
    risen = picture(DOG, changed(faint, x=44, score=2e-3))
    found = compared(risen, picture(DOG, faint))
    weight = 2e-3 / (0.8 + 2e-3)
    assert found["raw_rms"] == pytest.approx((weight * 3**2 / 4) ** 0.5, rel=1e-3)
    assert found["raw_weight"] == pytest.approx(0.802)
    mine[0, 40:, :2] += 64
    (problem,) = TASK.problems(compared(mine, picture(DOG, faint)), LIMITS)
    assert problem.startswith("raw boxes that nobody reads differ by ")


@pytest.mark.parametrize("column", range(7))
def test_a_row_that_nobody_reads_must_be_numbers(column: int) -> None:
    broken = picture(DOG)
    broken[0, 70, column] = np.nan
    assert TASK.problems(compared(broken, picture(DOG)), LIMITS)


def test_a_row_that_rises_to_a_detection_is_a_problem() -> None:
    faint = changed(CAT, score=1e-4)
    mine = picture(DOG, changed(faint, score=0.4))
    found = compared(mine, picture(DOG, faint))
    assert counts(found) == (1, 0, 1, 0)
    assert len(TASK.problems(found, LIMITS)) > 1


def test_every_class_score_is_compared_not_only_the_best() -> None:
    mine, theirs = picture(CAT), picture(CAT)
    mine[0, 0, 6] = 0.5
    assert compared(mine, theirs)["score_difference"] == pytest.approx(0.45, abs=1e-5)


@pytest.mark.parametrize("column", [0, 3, 4, 6])
def test_a_value_that_is_no_number_stays_the_largest_difference(column: int) -> None:
    """Also when later pictures are fine."""
    broken = picture(CAT)
    broken[0, 0, column] = np.nan
    found = TASK.new_comparison()
    compare(
        found,
        SPEC,
        np.concatenate((broken, picture(CAT))),
        raw(np.concatenate((picture(CAT), picture(CAT)))),
        LIMITS,
    )
    for later in (picture(CAT), picture(changed(CAT, score=0.899))):
        compare(found, SPEC, later, raw(picture(CAT)), LIMITS)
    differences = found["box_difference"], found["score_difference"]
    assert np.isnan(differences).any()
    assert TASK.problems(found, LIMITS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_difference_that_is_no_number_is_never_replaced_by_one(value: float) -> None:
    found = TASK.new_comparison()
    for number in (0.1, value, 0.2):
        found.largest(score_difference=number)
    assert not np.isfinite(found["score_difference"])


def comparison(start: Comparison | None = None, **values: float) -> Comparison:
    """A comparison with some of its differences set."""
    return Comparison({**(start or TASK.new_comparison()), **values})


GOOD = comparison(detections=5, score_difference=0.01, box_difference=0.02, lowest_iou=0.95)
BAD: list[tuple[dict[str, float], str]] = [
    ({"score_difference": 0.0101}, r"scores differ by up to 0\.01 \(tolerated 0\.01\)"),
    ({"score_difference": np.nan}, r"scores differ by up to nan"),
    ({"box_difference": 0.021}, r"boxes differ by up to 0\.021 of their size \(tolerated 0\.02\)"),
    ({"box_difference": np.inf}, r"boxes differ by up to inf"),
    ({"raw_rms": 0.11}, r"raw boxes differ by 0\.11 \(RMS\) \(tolerated 0\.1\)"),
    ({"raw_rms": np.nan}, r"raw boxes differ by nan"),
    ({"faint_rms": 0.6}, r"raw boxes that nobody reads differ by 0\.6 \(RMS\) \(tolerated 0\.5\)"),
    ({"faint_rms": np.nan}, r"raw boxes that nobody reads differ by nan"),
    ({"score_mean": 0.006}, r"detections differ by 0\.006 on average \(tolerated 0\.005\)"),
    ({"score_mean": np.nan}, r"detections differ by nan on average"),
    (
        {"probability_difference": 0.06},
        r"objectness or class probabilities differ by up to 0\.06 \(tolerated 0\.05\)",
    ),
    ({"probability_difference": np.nan}, r"class probabilities differ by up to nan"),
    ({"faint_probability": 0.6}, r"class probabilities that nobody reads differ by up to 0\.6"),
    ({"missed": 1}, r"1 detections are missed"),
    ({"extra": 2}, r"2 detections are extra"),
    ({"shifted": 1}, r"1 detections lie elsewhere"),
]


def test_what_just_keeps_the_limits_is_no_problem() -> None:
    assert TASK.problems(GOOD, LIMITS) == []
    assert TASK.problems(comparison(borderline=3), LIMITS) == []


@pytest.mark.parametrize(("values", "sentence"), BAD, ids=str)
def test_each_excess_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    (problem,) = TASK.problems(comparison(GOOD, **values), LIMITS)
    assert re.search(sentence, problem)


def test_several_excesses_are_all_told() -> None:
    found = comparison(GOOD, missed=1, extra=1, score_difference=1.0)
    assert len(TASK.problems(found, LIMITS)) == 3


def test_a_share_of_the_detections_may_stray() -> None:
    generous = Tolerance({**LIMITS.limits, "share": 0.01}, "for this test")
    many = comparison(GOOD, detections=200, missed=2, extra=2)
    assert TASK.problems(many, generous) == []
    assert len(TASK.problems(comparison(many, detections=199, extra=1), generous)) == 1
    assert len(TASK.problems(comparison(GOOD, detections=99, missed=1), generous)) == 1


@pytest.mark.parametrize("precision", TOLERANCES)
def test_every_precision_has_a_tolerance_with_its_reason(precision: str) -> None:
    tolerance, most = TOLERANCES[precision], {"bf16": 0.6, "int8": 1}.get(precision, 0.2)
    for name in ("raw", "score_mean", "score", "box"):
        assert 0 < tolerance[name] <= most
    assert tolerance["raw"] < tolerance["faint"] <= 1
    assert tolerance["score"] <= tolerance["probability"] < 1
    assert 0.5 <= tolerance["iou"] < 1
    assert 0 <= tolerance["share"] <= 0.02
    assert len(tolerance.reason.split()) > 5
    assert set(get_args(Precision)) < set(TOLERANCES)


def test_the_coarser_precision_decides_the_tolerance() -> None:
    """NCNN computes in FP32 with weights that were rounded to FP16."""
    assert coarser("fp32", "fp32", TOLERANCES) == "fp32"
    assert coarser("fp16", "fp32", TOLERANCES) == "fp16"
    assert coarser("fp16", "bf16", TOLERANCES) == coarser("fp32", "bf16", TOLERANCES) == "bf16"
    assert coarser("int8", "fp32", TOLERANCES) == coarser("fp32", "int8", TOLERANCES) == "int8"
    assert coarser("fp32", "int3", TOLERANCES) == "fp32"


def test_the_summary_names_problems_first() -> None:
    agreed = Verification("passed", (), GOOD, 3)
    assert agreed.summary.startswith("5 detections agree on 3 pictures")
    at_border = replace(agreed, comparison=comparison(GOOD, borderline=2))
    assert "2 more or less at the threshold" in at_border.summary
    failed = replace(agreed, status="failed", problems=("one", "two"))
    assert failed.summary == "one; two"
    assert failed.record()["summary"] == "one; two"
    assert replace(agreed, comparison=None).summary == "nothing was compared"


@pytest.mark.parametrize(
    ("status", "of_its_graph"),
    [
        ("passed", "built, not executed"),
        ("not proven on detections", "built, not executed"),
        ("failed", "failed"),
        ("not run", "not run"),
    ],
)
def test_what_did_not_run_is_never_said_to_pass(status: Verdict, of_its_graph: str) -> None:
    found = Verification(status, ("one",) if status == "failed" else (), GOOD, 3).of_its_graph("x")
    assert found.status == of_its_graph
    assert found.summary.startswith("its ONNX graph: ")
    assert found.notes == ("x",)
    assert found.record()["executed"] is False
