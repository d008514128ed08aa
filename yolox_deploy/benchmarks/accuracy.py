"""COCO AP of any model on any backend, so that an artifact's stands beside its checkpoint's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from yolox_deploy.data.ap import (
    AveragePrecision,
    CocoDataset,
    average_precision,
    match_categories,
    require_pycocotools,
)
from yolox_deploy.detector import Detector
from yolox_deploy.pictures.images import read_image
from yolox_deploy.postprocess import EVALUATION as KEPT_FOR_AP
from yolox_deploy.postprocess import Postprocess

__all__ = [
    "EVALUATION",
    "IOU_THRESHOLD",
    "SCORE_THRESHOLD",
    "AveragePrecision",
    "CocoDataset",
    "average_precision",
    "detect_dataset",
    "evaluation_detector",
    "evaluation_thresholds",
    "match_categories",
    "require_pycocotools",
    "write_results",
]

# The original's evaluation: everything above noise, a lenient NMS, boxes as the network gives them.
SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.65


def detect_dataset(
    detector: Detector,
    dataset: CocoDataset,
    track: Callable[[Iterable[tuple[int, Path]]], Iterable[tuple[int, Path]]] = iter,
) -> list[dict[str, Any]]:
    """Return COCO result entries for every picture; ``track`` may wrap the iteration."""
    ids = dataset.category_ids(detector.names)
    results: list[dict[str, Any]] = []
    for number, path in track(dataset.pictures.items()):
        results += detector(read_image(path)).to_coco(number, ids)
    return results


# What evaluation sets on a detector.
EVALUATION: dict[str, Any] = {
    "score_threshold": SCORE_THRESHOLD,
    "iou_threshold": IOU_THRESHOLD,
    "max_detections": None,
    "clip": False,
}


def evaluation_detector(model: str | Path, backend: str = "auto", **options: Any) -> Detector:
    """Return a detector with the thresholds of the original's evaluation, boxes not clipped."""
    return Detector(model, backend, **{**EVALUATION, **options})


@contextlib.contextmanager
def evaluation_thresholds(detector: Detector) -> Iterator[None]:
    """Let an opened detector keep what AP needs, for a while.

    One with its NMS in the graph stays as it is: its thresholds are fixed there.
    """
    before = detector.postprocess
    if detector.spec.output != "detections":
        detector.postprocess = Postprocess(detector.spec, KEPT_FOR_AP, detector.classes)
    try:
        yield
    finally:
        detector.postprocess = before


def write_results(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write result entries as COCO's tools read them; raises :class:`OutputError`."""
    from yolox_deploy.files import write_atomically

    write_atomically(path, json.dumps(list(results)) + "\n")
