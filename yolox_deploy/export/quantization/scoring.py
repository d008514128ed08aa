"""How well a graph detects: AP on some pictures, against annotations or the checkpoint itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from yolox_deploy.data.ap import CocoDataset, average_precision, entries_as_truth
from yolox_deploy.errors import InputFileError
from yolox_deploy.export.quantization.calibration import Pictures
from yolox_deploy.models import YOLOX
from yolox_deploy.postprocess import EVALUATION, SCORE_THRESHOLD, Postprocess
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import task_of

# Annotations by the checkpoint are boxes, whatever else its task finds.
BOXES = "bbox"


@dataclass(frozen=True)
class Scorer:
    """Measures AP on ``pictures``; ``truth`` is a COCO document about them.

    ``category_ids`` has the category of each class.  The thresholds are those of ``yolox-eval``.
    """

    pictures: Pictures
    truth: dict[str, Any]
    category_ids: list[int]
    metric: str = BOXES

    def __call__(self, runtime: Runtime) -> float:
        """Return AP (0..1) of an opened artifact with raw output."""
        postprocess = Postprocess(runtime.spec, EVALUATION)
        results: list[dict[str, Any]] = []
        for picture in self.pictures:
            output = runtime.infer(picture.image)
            (found,) = postprocess(output, [picture.ratio], [picture.size])
            results += found.to_coco(picture.number, self.category_ids)
        return average_precision(self.truth, results, self.metric).ap


def annotated_scorer(dataset: CocoDataset, pictures: Pictures) -> Scorer:
    """Return the scorer against the annotations of some of a data set's pictures.

    Raises :class:`UsageError` for categories that are not the model's classes, and
    :class:`InputFileError` if nothing is annotated in the pictures.
    """
    metric = task_of(pictures.spec).metric
    dataset.check_metric(metric)
    truth = {
        **dataset.truth,
        "images": [i for i in dataset.truth["images"] if i["id"] in pictures.files],
        "annotations": [a for a in dataset.truth["annotations"] if a["image_id"] in pictures.files],
    }
    if all(annotation["iscrowd"] for annotation in truth["annotations"]):
        raise InputFileError(
            f"{dataset.path}: nothing is annotated in the {len(pictures)} pictures that INT8 is "
            "searched or judged on: give more pictures"
        )
    return Scorer(pictures, truth, dataset.category_ids(pictures.spec.class_names), metric)


def agreement_scorer(network: YOLOX, spec: ModelSpec, pictures: Pictures) -> Scorer:
    """Return the scorer against what the checkpoint itself detects in the pictures.

    Raises :class:`InputFileError` if it detects nothing.
    """
    postprocess = Postprocess(spec, EVALUATION)
    entries: list[dict[str, Any]] = []
    numbers = list(range(1, spec.num_classes + 1))
    for picture in pictures:
        with torch.inference_mode():
            output = network(torch.from_numpy(picture.image)).numpy()
        (found,) = postprocess(output, [picture.ratio], [picture.size])
        rows = found.to_coco(picture.number, numbers)
        entries += [entry for entry in rows if entry["score"] >= SCORE_THRESHOLD]
    if not entries:
        raise InputFileError(
            f"the checkpoint detects nothing in {len(pictures)} pictures of --calib: give pictures "
            "of what it was trained on, or annotated ones with --data and --images"
        )
    truth = entries_as_truth(entries, pictures.files, {n: str(n) for n in numbers})
    return Scorer(pictures, truth, numbers)
