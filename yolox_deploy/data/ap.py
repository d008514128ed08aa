"""The one measurement of average precision (AP), by COCO's own code (``pycocotools``).

AP is measured here for ``yolox-eval``, for benchmarks, for streams and while training, so that all
of them mean the same by it.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.data.coco import read_coco
from yolox_deploy.data.matches import Matches, matches_of
from yolox_deploy.errors import InputFileError, ModelWarning, UsageError, in_short, suggest
from yolox_deploy.packages import install_line, require

# More classes make an option that nobody would copy.
MOST_NAMED = 12
# COCO's metrics, and the fields of an annotation that each compares besides box, area and crowd.
METRICS: dict[str, tuple[str, ...]] = {
    "bbox": (),
    "segm": ("segmentation",),
    "keypoints": ("keypoints", "num_keypoints"),
}


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's six AP figures (0..1): all, at IoU 0.50 and 0.75, small, medium and large objects.

    A figure that COCO leaves undefined is ``None``: that of a size that no object has, and
    ``ap_small`` of keypoints.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures by name."""
        return asdict(self)


class Evaluated(NamedTuple):
    """AP of one model: the figures, AP by category id, and what matched (``None``: no results).

    Categories without objects have no AP.
    """

    figures: AveragePrecision
    by_category: dict[int, float]
    matches: Matches | None


class CocoDataset:
    """Annotated pictures that AP is measured on, checked when they are opened.

    ``pictures`` is image id to file, ``categories`` name to id, ``truth`` the annotations,
    ``notes`` sentences on what is odd about them.  Raises :class:`InputFileError` if a file is
    missing, is no COCO data set or has no annotations, and :class:`MissingPackageError` without
    ``pycocotools``.

    ``classes`` are the names of the categories that AP is the mean of (``None``: all).  Raises
    :class:`UsageError` for a name that is no category, or of which there is no object.
    """

    def __init__(
        self, annotations: Path, images: Path, classes: Sequence[str] | None = None
    ) -> None:
        require_pycocotools()
        document = read_coco(annotations, [name for names in METRICS.values() for name in names])
        self.path = annotations
        self.pictures = document.picture_paths(images)
        self.categories = {name: number for number, name in document.categories.items()}
        truth = document.truth()
        if truth is None:
            raise InputFileError(
                f"{annotations}: its images have no annotations, crowds aside, so AP is undefined"
            )
        self.truth = truth
        self.notes = document.oddities()
        self.classes = classes
        self._matched: dict[tuple[str, ...], list[int]] = {}
        objects = {e["category_id"] for e in truth["annotations"] if not e.get("iscrowd")}
        self.with_objects = [name for name, i in self.categories.items() if i in objects]
        for name in classes or ():
            if name not in self.categories:
                raise UsageError(
                    f"{annotations} has no category {name!r}: expected some of "
                    f"{in_short(list(self.categories))}{suggest(name, self.categories)}"
                )
            if name not in self.with_objects:
                raise UsageError(f"{annotations} has no object of {name!r}, so it has no AP")

    def part(self, numbers: Collection[int]) -> CocoDataset:
        """Return the same data set with only the pictures of these ids; they may have no object."""
        part = copy(self)
        part.pictures = {number: self.pictures[number] for number in numbers}
        chosen = {
            name: [entry for entry in self.truth[name] if entry[key] in part.pictures]
            for name, key in (("images", "id"), ("annotations", "image_id"))
        }
        part.truth = {**self.truth, **chosen}
        return part

    def category_ids(self, names: Sequence[str]) -> list[int]:
        """Return the category id of each class, see :func:`match_categories`.

        What is odd about a list of names is said once.
        """
        key = tuple(names)
        if key not in self._matched:
            self._matched[key] = match_categories(
                *(names, self.categories, self.classes, self.with_objects)
            )
        return self._matched[key]

    def check_metric(self, metric: str) -> None:
        """Refuse a metric for which something is not annotated; to be called before detecting.

        Raises :class:`InputFileError`, and :class:`UsageError` for a metric that COCO has not.
        """
        entries = self.truth["annotations"]
        for name in _fields(metric):
            if count := sum(name not in entry for entry in entries):
                raise InputFileError(
                    f"{self.path}: {count} of {len(entries)} annotations have no {name!r}, so AP "
                    f"of {metric} cannot be measured"
                )

    def evaluate(self, results: Sequence[dict[str, Any]], metric: str = "bbox") -> AveragePrecision:
        """Return AP of COCO result entries over all pictures; ``metric`` is that of the task."""
        return self.evaluated(results, metric).figures

    def evaluated(self, results: Sequence[dict[str, Any]], metric: str = "bbox") -> Evaluated:
        """Return the same in all detail."""
        self.check_metric(metric)
        ids = None if self.classes is None else [self.categories[name] for name in self.classes]
        return evaluated(self.truth, results, metric, ids)


def match_categories(
    names: Sequence[str],
    categories: Mapping[str, int],
    measured: Sequence[str] | None = None,
    with_objects: Sequence[str] = (),
) -> list[int]:
    """Return the id of each class among ``categories`` (name to id), matched by name.

    Classes that are no category get ids that no category has.  As many classes as categories, none
    of them of the same name, are taken to be in the order of the ids.  A :class:`ModelWarning`
    says so, unless the classes have no names of their own (``class_0``, ...), and names categories
    without a class, among those that are ``measured`` (``None``: all).  It says how to measure the
    others alone: those ``with_objects``, since AP of a category without one is undefined.

    Raises :class:`UsageError` where no class can be matched.
    """
    if not set(names) & set(categories):
        if len(names) == len(categories):
            by_id = sorted(categories, key=lambda name: categories[name])
            if any(name != f"class_{i}" for i, name in enumerate(names)):
                warnings.warn(
                    "no class of the model is named like a category of the data set, so they were "
                    f"matched by order: {names[0]} = {by_id[0]}, ...; --names says otherwise",
                    ModelWarning,
                    stacklevel=2,
                )
            return [categories[name] for name in by_id]
        raise UsageError(
            f"the model's classes ({in_short(names)}) and the data set's categories "
            f"({in_short(list(categories))}) have no name in common: give --names"
        )
    chosen = list(dict.fromkeys(categories if measured is None else measured))
    if missing := [name for name in chosen if name not in names]:
        known = [name for name in with_objects if name in names]
        options = shlex.join(known) if 0 < len(known) <= MOST_NAMED else "NAME ..."
        remedy = f"; yolox-eval --classes {options} measures AP over these classes only"
        warnings.warn(
            f"{len(missing)} of {len(chosen)} categories of the data set have no class in the "
            f"model, and count as never found: {in_short(missing)}"
            + (remedy if measured is None else ""),
            ModelWarning,
            stacklevel=2,
        )
    unused = max((*categories.values(), *default_category_ids(names))) + 1
    return [categories.get(name, unused + i) for i, name in enumerate(names)]


def average_precision(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], metric: str = "bbox"
) -> AveragePrecision:
    """Return AP of result entries, see :func:`evaluated`."""
    return evaluated(truth, results, metric).figures


def evaluated(
    truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    metric: str = "bbox",
    categories: Sequence[int] | None = None,
) -> Evaluated:
    """Return AP of result entries, such as ``Detections.to_coco`` gives, in all detail.

    ``truth`` is a COCO document (``images``, ``categories``, ``annotations``), ``metric`` one of
    :data:`METRICS`, ``categories`` the ids that AP is the mean of (``None``: all).  Raises
    :class:`MissingPackageError` without ``pycocotools``.
    """
    _fields(metric)
    coco_class, evaluation_class = require_pycocotools()
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_class()
        # Copies, because pycocotools writes into the entries.
        coco.dataset = {"info": {}, **truth, "annotations": list(map(dict, truth["annotations"]))}
        coco.createIndex()
        found = coco.loadRes(list(map(dict, results))) if results else coco_class()
        evaluation = evaluation_class(coco, found, metric)
        if categories is not None:
            evaluation.params.catIds = sorted(set(categories))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    total = [max(float(value), 0.0) for value in evaluation.stats[:3]]
    by_size = [float(value) if value >= 0 else None for value in evaluation.stats[3:6]]
    if metric == "keypoints":
        # There is no figure of small objects: COCO annotates no keypoints in them.
        by_size = [None, *by_size[:2]]
    # (IoU thresholds, recalls, categories, areas, numbers of detections); -1: no object.
    by_category = evaluation.eval["precision"][:, :, :, 0, -1].mean((0, 1))
    pairs = zip(evaluation.params.catIds, by_category.tolist(), strict=True)
    ap = {number: value for number, value in pairs if value >= 0}
    return Evaluated(AveragePrecision(*total, *by_size), ap, matches_of(evaluation))


def entries_as_truth(
    entries: Sequence[dict[str, Any]], image_ids: Iterable[int], categories: Mapping[int, str]
) -> dict[str, Any]:
    """Return a COCO document in which result ``entries`` are the ground truth."""
    annotations = []
    for number, entry in enumerate(entries, 1):
        box = {key: entry[key] for key in ("image_id", "category_id", "bbox")}
        area = box["bbox"][2] * box["bbox"][3]
        annotations.append({"id": number, **box, "area": area, "iscrowd": 0})
    return {
        "images": [{"id": number} for number in image_ids],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


def figure_text(value: float | None) -> str:
    """Return a figure as a table shows it, "-" if it is undefined.

    >>> figure_text(0.28591), figure_text(None)
    ('0.2859', '-')
    """
    return "-" if value is None else f"{value:.4f}"


def require_pycocotools() -> tuple[Any, Any]:
    """Return COCO's data set and evaluation classes; raises :class:`MissingPackageError`."""
    reason, install = "AP is computed by pycocotools", install_line("eval")
    evaluation = require("pycocotools.cocoeval", reason, install)
    return require("pycocotools.coco", reason, install).COCO, evaluation.COCOeval


def _fields(metric: str) -> tuple[str, ...]:
    if metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r}: expected one of {', '.join(METRICS)}")
    return METRICS[metric]
