"""COCO AP of any model on any backend, so that an artifact's stands beside its checkpoint's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.detector import Detector
from yolox_deploy.postprocess import EVALUATION, Thresholds


def evaluation_detector(model: str | Path, backend: str = "auto", **options: Any) -> Detector:
    """Return a detector with the thresholds of the original's evaluation, boxes not clipped."""
    wanted = {"score_threshold": EVALUATION.score, "iou_threshold": EVALUATION.iou}
    bounds = {"max_detections": EVALUATION.max_detections, "clip": EVALUATION.clip}
    return Detector(model, backend, **{**wanted, **bounds, **options})


def detect_dataset(
    detector: Detector,
    dataset: CocoDataset,
    track: Callable[[Iterable[tuple[int, Path]]], Iterable[tuple[int, Path]]] = iter,
    thresholds: Thresholds | None = None,
) -> list[dict[str, Any]]:
    """Return COCO result entries for every picture; ``track`` may wrap the iteration.

    ``thresholds`` replace those of the detector.
    """
    ids = dataset.category_ids(detector.names)
    results: list[dict[str, Any]] = []
    for number, path in track(dataset.pictures.items()):
        results += detector(path, thresholds).to_coco(number, ids)
    return results
