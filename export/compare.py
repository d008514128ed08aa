"""How far two outputs are apart, and how far they may be.

Compared are the head's output, the scores, the decoded boxes, and the detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.decoder import Candidates, Decoder
from yolox_deploy.detector import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.nms import nms
from yolox_deploy.spec import ModelSpec, Precision

Array = NDArray[np.float32]

# Rows whose score the reference puts below this never become detections: boxes are not compared.
RELEVANT_SCORE = 0.05
# Box differences are relative to the longer side, but not to less than this many pixels.
SMALLEST_SIDE = 32
# Below this overlap two boxes are not the same object at all.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact of one precision may be from its checkpoint, and why that far.

    ``score`` bounds every row's score for every class (0..1), ``box`` the edges of relevant boxes
    relative to the box's longer side (with a floor of 32 px), ``iou`` the overlap of matched
    detections; detections missed or extra are not tolerated, except where the score's tolerance
    alone explains them.
    """

    score: float
    box: float
    iou: float
    reason: str

    def problems(self, found: Comparison) -> list[str]:
        """Return what exceeds the tolerance, one sentence a finding."""
        checks = (
            (found.score_difference, self.score, "scores differ by up to {:.2g}"),
            (found.box_difference, self.box, "boxes differ by up to {:.2g} of their size"),
            (found.missed, 0, "{} detections are missed"),
            (found.extra, 0, "{} detections are extra"),
        )
        result = [
            text.format(value) + (f" (tolerated {limit:g})" if limit else "")
            # Written so that NaN fails.
            for value, limit, text in checks
            if not value <= limit
        ]
        if not found.lowest_iou >= self.iou:
            result.append(f"matched boxes overlap by {found.lowest_iou:.3f} only, not {self.iou:g}")
        return result


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(
        score=2e-3,
        box=2e-3,
        iou=0.99,
        reason="engines reorder float32 sums; seen on real weights: scores within 2e-4",
    ),
    "fp16": Tolerance(
        score=5e-2,
        box=2e-2,
        iou=0.95,
        reason="weights rounded to 11 bits; seen on real weights: scores within 0.02, and 0.4 "
        "where subnormals are flushed",
    ),
}


@dataclass
class Comparison:
    """The largest differences over all pictures; see :class:`Tolerance` for the units.

    ``raw_absolute`` and ``raw_relative`` (to the reference's largest magnitude) concern the
    head's output as the artifact returns it; ``box_pixels`` the relevant boxes' edges in pixels;
    ``borderline`` counts detections that one side has and the other has only just not.
    """

    raw_absolute: float = 0.0
    raw_relative: float = 0.0
    score_difference: float = 0.0
    box_pixels: float = 0.0
    box_difference: float = 0.0
    detections: int = 0
    missed: int = 0
    extra: int = 0
    borderline: int = 0
    lowest_iou: float = 1.0
    largest_score_change: float = 0.0

    def largest(self, **values: float) -> None:
        """Keep the larger of what is there and what comes; NaN counts as the largest."""
        for key, value in values.items():
            kept = getattr(self, key)
            if not value <= kept and not np.isnan(kept):
                setattr(self, key, float(value))


def compare(
    found: Comparison, spec: ModelSpec, output: Array, reference: Array, tolerance: Tolerance
) -> None:
    """Add to ``found`` how a batch's output differs from the reference's raw output (N, A, K)."""
    decoder = Decoder(spec.height, spec.width, spec.strides)
    decoded_reference = decoder.decode(reference)
    judge = _Judge(tolerance, *thresholds(spec))
    if spec.output == "detections":
        for i, rows in enumerate(decoded_reference):
            mine = output[output[:, 0] == i]
            detections = Candidates(mine[:, 1:5], mine[:, 5], mine[:, 6].astype(np.int64))
            judge.compare(found, detections, None, judge.candidates(rows))
        return
    same_kind = decoded_reference if spec.output == "decoded" else reference
    difference = np.abs(output - same_kind)
    found.largest(
        raw_absolute=difference.max(),
        raw_relative=difference.max() / np.abs(same_kind).max(),
    )
    decoded = output if spec.output == "decoded" else decoder.decode(output)
    for rows, expected in zip(decoded, decoded_reference, strict=True):
        _compare_rows(found, rows, expected)
        candidates = judge.candidates(rows)
        judge.compare(found, judge.detections(candidates), candidates, judge.candidates(expected))


def _compare_rows(found: Comparison, rows: Array, expected: Array) -> None:
    """Compare scores of all rows, and boxes (centre and size) of those that can matter."""
    scores = rows[:, 4:5] * rows[:, 5:]
    expected_scores = expected[:, 4:5] * expected[:, 5:]
    found.largest(score_difference=np.abs(scores - expected_scores).max())
    relevant = expected_scores.max(1) >= RELEVANT_SCORE
    if relevant.any():
        _compare_boxes(found, _corners(rows[relevant]), _corners(expected[relevant]))


def _compare_boxes(found: Comparison, mine: Array, theirs: Array) -> None:
    """Compare boxes (N, 4) xyxy row by row."""
    pixels = np.abs(mine - theirs).max(1)
    sides = np.maximum((theirs[:, 2:] - theirs[:, :2]).max(1), SMALLEST_SIDE)
    found.largest(box_pixels=pixels.max(), box_difference=(pixels / sides).max())


def thresholds(spec: ModelSpec) -> tuple[float, float]:
    """Return the score and IoU threshold at which detections are compared."""
    return (
        SCORE_THRESHOLD if spec.score_threshold is None else spec.score_threshold,
        IOU_THRESHOLD if spec.iou_threshold is None else spec.iou_threshold,
    )


@dataclass(frozen=True)
class _Judge:
    """Compares the detections of one picture at two thresholds."""

    tolerance: Tolerance
    score: float
    iou: float

    def candidates(self, rows: Array) -> Candidates:
        """Return the candidates of decoded rows (A, K), also those just below the threshold."""
        return DECODED.candidates(rows, self.score - self.tolerance.score)

    def detections(self, candidates: Candidates) -> Candidates:
        """Return what the thresholds leave of the candidates, best first."""
        return suppressed(_picked(candidates, candidates.scores >= self.score), self.iou)

    def compare(
        self,
        found: Comparison,
        mine: Candidates,
        my_candidates: Candidates | None,
        their_candidates: Candidates,
    ) -> None:
        """Match the artifact's detections with the reference's, class by class, best first.

        One without a partner is excused where the other side has it as a candidate and only the
        score threshold or a tie in the NMS, within the tolerance, decided otherwise.
        """
        theirs = self.detections(their_candidates)
        overlaps = iou(theirs.xyxy, mine.xyxy)
        overlaps *= theirs.class_ids[:, None] == mine.class_ids[None]
        free = np.ones(len(mine.scores), bool)
        found.detections += len(theirs.scores)
        for row, score in enumerate(theirs.scores):
            partners = overlaps[row] * free
            best = int(partners.argmax()) if len(partners) else -1
            if best < 0 or partners[best] < SAME_OBJECT_IOU:
                if self.excused(theirs, row, my_candidates):
                    found.borderline += 1
                else:
                    found.missed += 1
                continue
            free[best] = False
            change = abs(float(mine.scores[best] - score))
            found.lowest_iou = min(found.lowest_iou, float(partners[best]))
            found.largest(largest_score_change=change)
            if my_candidates is None:
                # After NMS in the graph the rows are gone: its detections are all there is.
                found.largest(score_difference=change)
                _compare_boxes(found, mine.xyxy[best : best + 1], theirs.xyxy[row : row + 1])
        for row in np.flatnonzero(free).tolist():
            if self.excused(mine, row, their_candidates):
                found.borderline += 1
            else:
                found.extra += 1

    def excused(self, one: Candidates, row: int, others: Candidates | None) -> bool:
        """Whether ``others`` hold detection ``row`` too, within the tolerance."""
        if others is None:
            return bool(one.scores[row] < self.score + self.tolerance.score)
        close = np.abs(others.scores - one.scores[row]) <= self.tolerance.score
        same = close & (others.class_ids == one.class_ids[row])
        overlaps = iou(one.xyxy[row : row + 1], others.xyxy[same])
        return bool((overlaps >= self.tolerance.iou).any())


# Decoded rows need no grid, so one decoder serves every input size.
DECODED = Decoder(32, 32, decoded=True)


def suppressed(candidates: Candidates, iou_threshold: float = IOU_THRESHOLD) -> Candidates:
    """Return what the NMS leaves of the candidates, best first."""
    return _picked(candidates, nms(*candidates, iou_threshold))


def _picked(candidates: Candidates, index: NDArray[Any]) -> Candidates:
    return Candidates(*(array[index] for array in candidates))


def _corners(rows: Array) -> Array:
    half = rows[:, 2:4] / 2
    return np.concatenate((rows[:, :2] - half, rows[:, :2] + half), 1)


def iou(a: Array, b: Array) -> Array:
    """Return the IoU of every box of ``a`` (N, 4) with every box of ``b`` (M, 4), (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.maximum(high - low, 0).prod(2)
    areas = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None]
    result: Array = intersection / np.maximum(areas - intersection, np.float32(1e-9))
    return result
