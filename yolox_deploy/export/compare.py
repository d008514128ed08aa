"""How far two outputs are apart, and how far they may be.

Compared are the head's output, the scores, the decoded boxes, and the detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.detector import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.spec import ModelSpec, Precision
from yolox_deploy.tasks.decoder import Candidates, Decoder
from yolox_deploy.tasks.nms import nms

Array = NDArray[np.float32]

# Box differences are relative to the longer side, but not to less than this many pixels.
SMALLEST_SIDE = 32
# An overlap this close to the NMS' threshold is at it.
IOU_MARGIN = 0.02
# Detections that rounding may decide: so many in any case, and this share of many.
MOST_BORDERLINE = 3
BORDERLINE_SHARE = 0.1
# Below this overlap two boxes are not the same object at all.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact of one precision may be from its checkpoint, and why that far.

    ``raw`` bounds the root mean square of the differences of the raw boxes (cells and logarithms
    of sizes, all rows); ``score_mean`` and ``box`` concern the rows that the reference detects:
    their mean change of score, and the largest change of a box's edge relative to its longer
    side.  ``score`` bounds the score (0..1) of every row for every class, ``probability`` its two
    factors, objectness and class probability, each by itself.  Matched detections that overlap by
    less than ``iou`` lie elsewhere.  ``share`` is the share of detections that may be missed, be
    extra or lie elsewhere, apart from the few that rounding decides: among hundreds of boxes one
    tie in the NMS decides others.
    """

    raw: float
    score_mean: float
    score: float
    probability: float
    box: float
    iou: float
    share: float
    reason: str

    @property
    def margin(self) -> float:
        """How close to a threshold, or to each other, scores are a matter of rounding."""
        return 5 * self.score_mean

    def problems(self, found: Comparison) -> list[str]:
        """Return what exceeds the tolerance, one sentence a finding."""
        strays = int(self.share * found.detections)
        checks = (
            (found.raw_rms, self.raw, "raw boxes differ by {:.2g} (RMS)"),
            (found.score_mean, self.score_mean, "scores of detections differ by {:.2g} on average"),
            (found.score_difference, self.score, "scores differ by up to {:.2g}"),
            (
                found.probability_difference,
                self.probability,
                "objectness or class probabilities differ by up to {:.2g}",
            ),
            (found.box_difference, self.box, "boxes differ by up to {:.2g} of their size"),
            (found.missed, strays, "{} detections are missed"),
            (found.extra, strays, "{} detections are extra"),
            (found.shifted, strays, "{} detections lie elsewhere"),
            (
                found.borderline,
                max(MOST_BORDERLINE, int(BORDERLINE_SHARE * found.detections)),
                "{} detections differ at the thresholds",
            ),
        )
        return [
            f"{text.format(value)} (tolerated {limit:g})"
            # Written so that NaN fails.
            for value, limit, text in checks
            if not value <= limit
        ]


# What was seen is YOLOX-Nano's COCO weights on 64 pictures of COCO and on the drawn ones.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(
        raw=1e-4,
        score_mean=1e-4,
        score=1e-3,
        probability=1e-3,
        box=2e-3,
        iou=0.99,
        share=0.01,
        reason="engines only reorder float32 sums: raw boxes were seen within 6e-6 and scores "
        "within 4e-5, and one flipped weight in the middle of the network moves them further",
    ),
    "fp16": Tolerance(
        raw=3e-2,
        score_mean=1e-2,
        score=0.15,
        probability=0.5,
        box=0.1,
        iou=0.6,
        share=0.01,
        reason="weights and activations rounded to 11 bits: raw boxes were seen within 8e-3, "
        "scores within 2e-3 on average and 0.09 at worst, at no loss of AP; where subnormals "
        "are flushed 0.17, 5e-2 and 0.9, at a loss of 1.2 AP",
    ),
}


@dataclass
class Comparison:
    """The differences over all pictures; see :class:`Tolerance` for the units.

    ``raw_absolute`` and ``raw_relative`` (to the reference's largest magnitude) are the largest
    differences of the output as the artifact returns it; ``box_pixels`` that of detected boxes'
    edges in pixels; ``shifted`` counts matched detections that lie elsewhere, ``borderline`` those
    that one side has and the other has only just not.
    """

    raw_absolute: float = 0.0
    raw_relative: float = 0.0
    raw_rms: float = 0.0
    score_mean: float = 0.0
    score_difference: float = 0.0
    probability_difference: float = 0.0
    box_pixels: float = 0.0
    box_difference: float = 0.0
    detections: int = 0
    missed: int = 0
    extra: int = 0
    shifted: int = 0
    borderline: int = 0
    lowest_iou: float = 1.0
    raw_count: int = 0
    score_count: int = 0

    def largest(self, **values: float) -> None:
        """Keep the larger of what is there and what comes; NaN counts as the largest."""
        for key, value in values.items():
            kept = getattr(self, key)
            if not value <= kept and not np.isnan(kept):
                setattr(self, key, float(value))

    def add_raw(self, differences: Array) -> None:
        """Take differences of raw boxes into the root mean square."""
        count = self.raw_count + differences.size
        total = self.raw_rms**2 * self.raw_count + float(np.square(differences, dtype=float).sum())
        self.raw_rms, self.raw_count = (total / count) ** 0.5, count

    def add_scores(self, differences: Array) -> None:
        """Take changes of detections' scores into the mean."""
        if differences.size:
            count = self.score_count + differences.size
            total = self.score_mean * self.score_count + float(np.abs(differences).sum())
            self.score_mean, self.score_count = total / count, count


def compare(
    found: Comparison, spec: ModelSpec, output: Array, reference: Array, tolerance: Tolerance
) -> None:
    """Add to ``found`` how a batch's output differs from the reference's raw output (N, A, K)."""
    decoder = Decoder(spec.height, spec.width, spec.strides)
    judge = _Judge(tolerance, *thresholds(spec))
    decoded_reference = decoder.decode(reference)
    if spec.output == "detections":
        for i, rows in enumerate(decoded_reference):
            mine = output[output[:, 0] == i]
            detections = Candidates(mine[:, 1:5], mine[:, 5], mine[:, 6].astype(np.int64))
            judge.compare(found, detections, judge.detections(rows), rows=False)
        return
    decoded = output if spec.output == "decoded" else decoder.decode(output)
    same_kind = decoded_reference if spec.output == "decoded" else reference
    difference = np.abs(output - same_kind).max()
    found.largest(raw_absolute=difference, raw_relative=difference / np.abs(same_kind).max())
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.log(decoded[..., 2:4] / decoded_reference[..., 2:4])
    found.add_raw((decoded[..., :2] - decoded_reference[..., :2]) / decoder.stride)
    found.add_raw(sizes)
    for rows, expected in zip(decoded, decoded_reference, strict=True):
        judge.compare_rows(found, rows, expected)
        judge.compare(found, judge.detections(rows), judge.detections(expected), rows=True)


def thresholds(spec: ModelSpec) -> tuple[float, float]:
    """Return the score and IoU threshold at which detections are compared."""
    return (
        SCORE_THRESHOLD if spec.score_threshold is None else spec.score_threshold,
        IOU_THRESHOLD if spec.iou_threshold is None else spec.iou_threshold,
    )


@dataclass(frozen=True)
class _Judge:
    """Compares the outputs for one picture at two thresholds."""

    tolerance: Tolerance
    score: float
    iou: float

    def detections(self, rows: Array) -> Candidates:
        """Return what is detected in decoded rows (A, K), best first."""
        return suppressed(DECODED.candidates(rows, self.score), self.iou)

    def compare_rows(self, found: Comparison, rows: Array, expected: Array) -> None:
        """Compare decoded rows (A, K): every score, and the boxes of those that are detected."""
        scores, expected_scores = (r[:, 4:5] * r[:, 5:] for r in (rows, expected))
        differences = np.abs(scores - expected_scores).max(1)
        found.largest(
            score_difference=differences.max(),
            probability_difference=np.abs(rows[:, 4:] - expected[:, 4:]).max(),
        )
        detected = expected_scores.max(1) >= self.score
        found.add_scores(differences[detected])
        if detected.any():
            _compare_boxes(found, _corners(rows[detected]), _corners(expected[detected]))

    def compare(
        self, found: Comparison, mine: Candidates, theirs: Candidates, *, rows: bool
    ) -> None:
        """Match the artifact's detections with the reference's, class by class, best first.

        ``rows`` says that scores and boxes were compared row by row already.
        """
        overlaps = iou(theirs.xyxy, mine.xyxy)
        overlaps *= theirs.class_ids[:, None] == mine.class_ids[None]
        free = np.ones(len(mine.scores), bool)
        found.detections += len(theirs.scores)
        for row, score in enumerate(theirs.scores):
            partners = overlaps[row] * free
            best = int(partners.argmax()) if len(partners) else -1
            if best < 0 or partners[best] < SAME_OBJECT_IOU:
                if self.on_the_border(theirs, row, mine):
                    found.borderline += 1
                else:
                    found.missed += 1
                continue
            free[best] = False
            change = np.abs(mine.scores[best : best + 1] - score)
            tie = partners[best] < self.tolerance.iou and change[0] <= self.tolerance.margin
            if tie and rows:
                # Two boxes of one object with equal scores: each side kept another one.
                found.borderline += 1
                continue
            found.lowest_iou = min(found.lowest_iou, float(partners[best]))
            found.shifted += bool(partners[best] < self.tolerance.iou)
            if not rows:
                found.largest(score_difference=float(change[0]))
                found.add_scores(change)
                _compare_boxes(found, mine.xyxy[best : best + 1], theirs.xyxy[row : row + 1])
        for row in np.flatnonzero(free).tolist():
            if self.on_the_border(mine, row, theirs):
                found.borderline += 1
            else:
                found.extra += 1

    def on_the_border(self, one: Candidates, row: int, others: Candidates) -> bool:
        """Whether rounding alone may have decided that only one side keeps a detection.

        Its score is at the threshold; or the other side keeps a rival of the same class that has
        the same score, or whose overlap is at the threshold of the NMS.
        """
        margin = self.tolerance.margin
        if one.scores[row] <= self.score + margin:
            return True
        rivals = others.class_ids == one.class_ids[row]
        overlaps = iou(one.xyxy[row : row + 1], others.xyxy[rivals])[0]
        same_score = np.abs(others.scores[rivals] - one.scores[row]) <= margin
        at_threshold = np.abs(overlaps - self.iou) <= IOU_MARGIN
        return bool((at_threshold | (same_score & (overlaps > self.iou))).any())


def _compare_boxes(found: Comparison, mine: Array, theirs: Array) -> None:
    """Compare boxes (N, 4) xyxy row by row."""
    pixels = np.abs(mine - theirs).max(1)
    sides = np.maximum((theirs[:, 2:] - theirs[:, :2]).max(1), SMALLEST_SIDE)
    found.largest(box_pixels=pixels.max(), box_difference=(pixels / sides).max())


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
