"""Object detection: boxes with a score and a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from yolox_deploy.tasks.boxes import BoxTask
from yolox_deploy.tasks.comparison import Tolerance
from yolox_deploy.tasks.detections import Detections


class Detect(BoxTask):
    """A row is a box, its objectness and one score per class.

    The limits of its tolerances: ``raw`` bounds the root mean square of the differences of the raw
    boxes (cells and logarithms of sizes) in rows that can become detections on either side,
    weighted by their scores, and ``faint`` that in all other rows.  ``score_mean`` and ``box``
    concern the rows that the reference detects: their mean change of score, and the largest change
    of a box's edge relative to its longer side.  ``score`` bounds the score (0..1) of every row for
    every class, so that no row rises.  ``probability`` bounds its two factors, objectness and class
    probability, each by itself, in the rows that can become detections, and ``faint_probability``
    in all other rows: in FP32 those show flipped weights that the pictures do not.  Matched
    detections that overlap by less than ``iou`` lie elsewhere.  ``borderline`` is the share of
    detections that may be found on one side only because rounding decides it, ``share`` that of
    those that may be missed, be extra or lie elsewhere beside them: among hundreds of boxes one tie
    in the NMS decides others.
    """

    name = "detect"
    result = Detections
    metric = "bbox"
    # What was seen is YOLOX-Nano's COCO weights on 64 pictures of COCO and on the drawn ones.
    tolerances: ClassVar[Mapping[str, Tolerance]] = {
        "fp32": Tolerance(
            {
                "raw": 1e-4,
                "faint": 1e-3,
                "score_mean": 1e-4,
                "score": 1e-3,
                "probability": 1e-3,
                "faint_probability": 1e-3,
                "box": 2e-3,
                "iou": 0.99,
                "share": 0.01,
                "borderline": 0.1,
            },
            reason="engines only reorder float32 sums: raw boxes were seen within 2e-6, those of "
            "faint rows within 1e-5 and scores within 6e-5, and each of 72 flipped weights "
            "moves one of them further",
        ),
        "fp16": Tolerance(
            {
                "raw": 1e-2,
                "faint": 0.5,
                "score_mean": 1e-2,
                "score": 0.15,
                "probability": 0.5,
                "faint_probability": 1,
                "box": 0.1,
                "iou": 0.6,
                "share": 0.01,
                "borderline": 0.1,
            },
            reason="weights and activations rounded to 11 bits: raw boxes were seen within 3e-3, "
            "those of faint rows within 5e-2, scores within 2e-3 on average and 0.09 at "
            "worst, at no loss of AP; where subnormals are flushed 4.5e-2, 0.25, 5e-2 and "
            "0.4, at a loss of 1.2 AP",
        ),
        "bf16": Tolerance(
            {
                "raw": 0.1,
                "faint": 1,
                "score_mean": 3e-2,
                "score": 0.6,
                "probability": 0.8,
                "faint_probability": 1,
                "box": 0.5,
                "iou": 0.5,
                "share": 0.02,
                "borderline": 0.2,
            },
            reason="weights and activations rounded to 8 bits, eight times as coarse as FP16: on "
            "NCNN raw boxes were seen within 4e-2, those of faint rows within 0.15, scores "
            "within 2e-2 on average and 0.4 at worst; OpenVINO's BF16 loses no AP",
        ),
        "int8": Tolerance(
            {
                "raw": 0.15,
                "faint": 0.5,
                "score_mean": 8e-2,
                "score": 0.9,
                "probability": 0.95,
                "faint_probability": 1,
                "box": 1,
                "iou": 0.5,
                "share": 0.02,
                "borderline": 0.25,
            },
            reason="most activations rounded to 8 bits: where at most 0.3 AP was lost, raw boxes "
            "were seen within 8e-2, those of faint rows within 0.21 and scores within 6e-2 on "
            "average and 0.7 at worst; with every layer in INT8, at a loss of 10 AP and more, "
            "0.21, 0.55, 0.2 and 0.7",
        ),
    }
