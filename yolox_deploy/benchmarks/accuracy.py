"""COCO AP of any model on any backend, so that an artifact's stands beside its checkpoint's."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.detector import Detector
from yolox_deploy.errors import InputFileError, MissingPackageError, UsageError
from yolox_deploy.pictures.images import read_image
from yolox_deploy.postprocess import EVALUATION as KEPT_FOR_AP
from yolox_deploy.postprocess import Postprocess

# The original's evaluation: everything above noise, a lenient NMS, boxes as the network gives them.
SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.65


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's six AP figures (0..1): all, at IoU 0.50 and 0.75, small, medium and large objects."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


class CocoDataset:
    """COCO annotations and the folder of their pictures.

    Raises :class:`InputFileError` where either is missing or the JSON is no COCO data set, and
    :class:`MissingPackageError` without pycocotools.
    """

    def __init__(self, annotations: Path, images: Path) -> None:
        coco_class, _ = require_pycocotools()
        if not images.is_dir():
            raise InputFileError(f"{images}: no such folder of pictures")
        try:
            with _quiet():
                self.coco = coco_class(str(annotations))
            self.pictures = {
                number: images / entry["file_name"] for number, entry in self.coco.imgs.items()
            }
            self.categories = {entry["name"]: i for i, entry in self.coco.cats.items()}
        except OSError as error:
            raise InputFileError(f"{annotations}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise InputFileError(f"{annotations}: no COCO data set ({error!r:.120})") from error
        if not self.pictures or not self.categories:
            raise InputFileError(f"{annotations}: no COCO data set (no picture, or no category)")
        missing = [path for path in self.pictures.values() if not path.is_file()]
        if missing:
            raise InputFileError(
                f"{images} lacks {len(missing)} of the {len(self.pictures)} pictures that "
                f"{annotations.name} names, {missing[0].name} first"
            )

    def category_ids(self, names: Sequence[str]) -> list[int]:
        """Return each class' category id, see :func:`match_categories`."""
        return match_categories(names, self.categories)

    def evaluate(self, results: Sequence[dict[str, Any]]) -> AveragePrecision:
        """Return AP of COCO result entries over all pictures of the data set."""
        return average_precision(self.coco, results)


def match_categories(names: Sequence[str], categories: Mapping[str, int]) -> list[int]:
    """Return each class' id among ``categories`` (name to id), matched by name.

    Classes that are no category get ids that none has.  Raises :class:`UsageError` where no name
    of the model is a category's.
    """
    if not set(names) & set(categories):
        if len(names) == len(categories):
            return sorted(categories.values())
        raise UsageError(
            f"the model's classes ({', '.join(names[:4])}, ...) and the data set's categories "
            f"({', '.join(list(categories)[:4])}, ...) have no name in common: give --names"
        )
    unused = max((*categories.values(), *default_category_ids(names))) + 1
    return [categories.get(name, unused + i) for i, name in enumerate(names)]


def average_precision(truth: Any, results: Sequence[dict[str, Any]]) -> AveragePrecision:
    """Return AP of COCO result entries, by COCO's own code.

    ``truth`` is a ``pycocotools`` data set, or a COCO document (images, categories, annotations).
    Figures that COCO leaves undefined, for want of such objects, are 0.  Raises
    :class:`MissingPackageError` without pycocotools.
    """
    coco_class, evaluation_class = require_pycocotools()
    if not results:
        return AveragePrecision(0, 0, 0, 0, 0, 0)
    with _quiet():
        if isinstance(truth, dict):
            document, truth = truth, coco_class()
            truth.dataset = {"info": {}, **document}
            truth.createIndex()
        evaluation = evaluation_class(truth, truth.loadRes(list(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return AveragePrecision(*(max(float(value), 0.0) for value in evaluation.stats[:6]))


def require_pycocotools() -> tuple[Any, Any]:
    """Return COCO's data set and evaluation classes; raises :class:`MissingPackageError`."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingPackageError(
            'AP is computed by pycocotools: pip install "yolox-deploy[eval]"'
        ) from error
    return COCO, COCOeval


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


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    return contextlib.redirect_stdout(io.StringIO())
