"""How far an artifact's output is from its checkpoint's: rows, and what is found in them.

Which differences there are, and how far they may be, is said by the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD, Postprocess, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Candidates, Comparison, Detections, Tolerance
from yolox_deploy.tasks.boxes import iou

Array = NDArray[np.float32]

# An overlap this close to the NMS' threshold is at it.
IOU_MARGIN = 0.02
# Below this overlap two boxes are not the same object at all.
SAME_OBJECT_IOU = 0.5


def compare(
    found: Comparison, spec: ModelSpec, output: Array, reference: Array, tolerance: Tolerance
) -> None:
    """Add to ``found`` how a batch's output differs from the reference's raw output (N, A, width).

    ``found`` is the task's ``new_comparison()``, or what was added to it before.
    """
    judge = Judge(spec, tolerance)
    task = judge.decoded.task
    expected = task.decoder(replace(judge.decoded.spec, output="raw")).decode(reference)
    if spec.output == "detections":
        ours = Postprocess(spec, judge.thresholds).decode(output, len(expected))
        for mine, theirs in zip(ours, judge.detections(expected), strict=True):
            judge.match(found, mine, theirs, rows=False)
        return
    decoded = task.decoder(spec).decode(output)
    same_kind = expected if spec.output == "decoded" else reference
    difference = np.abs(output - same_kind).max()
    found.largest(raw_absolute=difference, raw_relative=difference / np.abs(same_kind).max())
    judge.compare(found, decoded, expected)


def pairs_of(
    one: Candidates | Detections, other: Candidates | Detections
) -> Iterator[tuple[int, int, float]]:
    """Yield the indices of what is the same object on both sides, and the IoU, class by class.

    First each of ``one``, best first, then what is left of ``other``; -1 stands for no partner.
    """
    overlaps = iou(one.xyxy, other.xyxy)
    overlaps *= one.class_ids[:, None] == other.class_ids[None]
    free = np.ones(len(other), bool)
    for i, row in enumerate(overlaps):
        left = row * free
        j = int(left.argmax()) if len(left) else -1
        if j < 0 or left[j] < SAME_OBJECT_IOU:
            yield i, -1, 0.0
        else:
            free[j] = False
            yield i, j, left[j]
    yield from ((-1, j, 0.0) for j in np.flatnonzero(free).tolist())


class Judge:
    """Matches what is found on one side with what is found on the other, at two thresholds."""

    def __init__(self, spec: ModelSpec, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self.thresholds = Thresholds(
            SCORE_THRESHOLD if spec.score_threshold is None else spec.score_threshold,
            IOU_THRESHOLD if spec.iou_threshold is None else spec.iou_threshold,
            max_detections=None,
        )
        self.decoded = Postprocess(
            replace(spec, output="decoded", score_threshold=None, iou_threshold=None),
            self.thresholds,
        )

    def detections(self, decoded: Array) -> list[Candidates]:
        """Return what is found in each picture's decoded rows (N, A, width), best first."""
        return list(map(self.decoded.suppress, self.decoded.decode(decoded, len(decoded))))

    def compare(self, found: Comparison, decoded: Array, expected: Array) -> None:
        """Add how decoded rows (N, A, width) differ from the expected ones."""
        task, spec = self.decoded.task, self.decoded.spec
        task.compare_encoded(found, decoded, expected, spec)
        kept = self.detections(decoded), self.detections(expected)
        for rows, wanted, mine, theirs in zip(decoded, expected, *kept, strict=True):
            task.compare_rows(found, rows, wanted, spec, self.thresholds.score)
            self.match(found, mine, theirs, rows=True)

    def match(
        self,
        found: Comparison,
        mine: Candidates,
        theirs: Candidates,
        *,
        rows: bool,
        pairs: bool | None = None,
    ) -> None:
        """Match the artifact's detections with the reference's, class by class, best first.

        ``rows`` says that they come from rows, of which each side may keep another one of two
        alike; ``pairs`` whether matched ones are compared (``None``: only without rows, because
        those were compared already).
        """
        pairs = not rows if pairs is None else pairs
        found.count(detections=len(theirs))
        for row, best, overlap in pairs_of(theirs, mine):
            if best < 0:
                border = self.on_the_border(theirs, row, mine)
                found.count(**{"borderline" if border else "missed": 1})
                continue
            if row < 0:
                border = self.on_the_border(mine, best, theirs)
                found.count(**{"borderline" if border else "extra": 1})
                continue
            elsewhere = bool(overlap < self.tolerance["iou"])
            tie = abs(mine.scores[best] - theirs.scores[row]) <= self.tolerance.margin
            if elsewhere and tie and rows:
                # Two boxes of one object with equal scores: each side kept another one.
                found.count(borderline=1)
                continue
            found["lowest_iou"] = min(found["lowest_iou"], float(overlap))
            found.count(shifted=elsewhere)
            if pairs:
                one, other = mine[best : best + 1], theirs[row : row + 1]
                self.decoded.task.compare_found(found, one, other)

    def on_the_border(self, one: Candidates, row: int, others: Candidates) -> bool:
        """Whether rounding alone may have decided that only one side keeps a detection.

        Its score is at the threshold; or the other side keeps a rival of the same class that has
        the same score, or whose overlap is at the threshold of the NMS.
        """
        margin = self.tolerance.margin
        if one.scores[row] <= self.thresholds.score + margin:
            return True
        rivals = others.class_ids == one.class_ids[row]
        overlaps = iou(one.xyxy[row : row + 1], others.xyxy[rivals])[0]
        same_score = np.abs(others.scores[rivals] - one.scores[row]) <= margin
        at_threshold = np.abs(overlaps - self.thresholds.iou) <= IOU_MARGIN
        return bool((at_threshold | (same_score & (overlaps > self.thresholds.iou))).any())
