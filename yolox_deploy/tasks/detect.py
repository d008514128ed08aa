"""Object detection: boxes with a score and a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from yolox_deploy.spec import Precision
from yolox_deploy.tasks.boxes import BoxTask
from yolox_deploy.tasks.comparison import Tolerance
from yolox_deploy.tasks.detections import Detections


class Detect(BoxTask):
    """A row is a box, its objectness and one score per class.

    The limits of its tolerances: ``raw`` bounds the root mean square of the differences of the raw
    boxes (cells and logarithms of sizes, all rows).  ``score_mean`` and ``box`` concern the rows
    that the reference detects: their mean change of score, and the largest change of a box's edge
    relative to its longer side.  ``score`` bounds the score (0..1) of every row for every class,
    ``probability`` its two factors, objectness and class probability, each by itself.  Matched
    detections that overlap by less than ``iou`` lie elsewhere.  ``share`` is the share of
    detections that may be missed, be extra or lie elsewhere, apart from the few that rounding
    decides: among hundreds of boxes one tie in the NMS decides others.
    """

    name = "detect"
    result = Detections
    metric = "bbox"
    # What was seen is YOLOX-Nano's COCO weights on 64 pictures of COCO and on the drawn ones.
    tolerances: ClassVar[Mapping[Precision, Tolerance]] = {
        "fp32": Tolerance(
            {
                "raw": 1e-4,
                "score_mean": 1e-4,
                "score": 1e-3,
                "probability": 1e-3,
                "box": 2e-3,
                "iou": 0.99,
                "share": 0.01,
            },
            reason="engines only reorder float32 sums: raw boxes were seen within 6e-6 and scores "
            "within 4e-5, and one flipped weight in the middle of the network moves them further",
        ),
        "fp16": Tolerance(
            {
                "raw": 3e-2,
                "score_mean": 1e-2,
                "score": 0.15,
                "probability": 0.5,
                "box": 0.1,
                "iou": 0.6,
                "share": 0.01,
            },
            reason="weights and activations rounded to 11 bits: raw boxes were seen within 8e-3, "
            "scores within 2e-3 on average and 0.09 at worst, at no loss of AP; where subnormals "
            "are flushed 0.17, 5e-2 and 0.9, at a loss of 1.2 AP",
        ),
    }
