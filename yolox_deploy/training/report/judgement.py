"""What an evaluation says beyond AP: the best score threshold, confused classes, worst pictures.

AP asks for detections of every score.  All else here is about detections as ``Detector`` gives
them with its usual thresholds, and a detection is right if it has the class of an object and an
IoU of at least 0.5 with it, the better score first, each object once: COCO's rule at IoU 0.50.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.ap import AveragePrecision, Evaluated
from yolox_deploy.tasks import Detections
from yolox_deploy.tasks.boxes import iou
from yolox_deploy.training.data.pictures import AnnotatedPicture, Boxes, CocoPictures

# The score thresholds that are tried.
SCORES = np.arange(1, 100) / 100
SAME_OBJECT = 0.5
# Stands for the class of what is annotated and not found, and of what is found and not annotated.
NOTHING = -1
# How many of the worst pictures are kept.
WORST = 6


class Wrong(NamedTuple):
    """A picture with mistakes: the objects that were missed, and the detections that are wrong.

    ``truth`` are rows of class, x1, y1, x2, y2; ``found`` rows of class, score, x1, y1, x2, y2, in
    pixels of the picture.
    """

    path: str
    missed: int
    wrong: int
    truth: list[list[float]]
    found: list[list[float]]


@final
@dataclass(frozen=True)
class Judgement:
    """AP of a network on the validation pictures, and what goes with it.

    ``by_class`` is AP by class index (``None``: no object), ``objects`` the number of objects.
    ``precision`` (``None``: nothing was found) and ``recall`` are those of all classes together at
    each of :data:`SCORES`.  ``threshold`` is the score with the highest F1 (``None``: nothing
    found was right).  At it, ``mistakes`` are rows of an object's class, the class that was found,
    and their number (right ones are among them), and ``worst`` the pictures with most mistakes.
    """

    figures: AveragePrecision
    by_class: list[float | None]
    objects: list[int]
    precision: list[float | None]
    recall: list[float]
    threshold: float | None
    mistakes: list[list[int]]
    worst: list[Wrong]

    def at_threshold(self) -> tuple[float, float]:
        """Return precision and recall at the threshold; without one, zeros."""
        if self.threshold is None:
            return 0.0, 0.0
        place = int(np.abs(SCORES - self.threshold).argmin())
        return self.precision[place] or 0.0, self.recall[place]

    def plain(self) -> dict[str, Any]:
        """Return plain values, for checkpoints and results."""
        return asdict(self) | {"worst": [[*row] for row in self.worst]}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Return what :meth:`plain` gave."""
        worst = [Wrong(*row) for row in values["worst"]]
        figures = AveragePrecision(**values["figures"])
        return cls(**{**values, "worst": worst, "figures": figures})


class _Matched(NamedTuple):
    """One picture: the object of each detection (-1: none), and whether the detection counts."""

    picture: AnnotatedPicture
    found: Detections
    partner: NDArray[np.int64]
    counts: NDArray[np.bool_]


def judge(data: CocoPictures, found: Sequence[Detections], measured: Evaluated) -> Judgement:
    """Return the judgement on what was ``found`` in each picture of ``data``, best score first."""
    crowds: dict[int, list[dict[str, Any]]] = {}
    for row in data.truth:
        if row.get("iscrowd"):
            crowds.setdefault(row["image_id"], []).append(row)
    pictures = [
        _matched(picture, result, crowds.get(picture.image_id, ()))
        for picture, result in zip(data.pictures, found, strict=True)
    ]
    labels = np.concatenate([picture.labels for picture in data.pictures])
    precision, recall, threshold = _curve(pictures, len(labels))
    mistakes, worst = _at(threshold, pictures)
    return Judgement(
        measured.figures,
        [measured.by_category.get(i) for i in range(len(data.names))],
        np.bincount(labels, minlength=len(data.names)).tolist(),
        precision,
        recall,
        threshold,
        mistakes,
        worst,
    )


def _matched(
    picture: AnnotatedPicture, found: Detections, crowds: Sequence[Mapping[str, Any]]
) -> _Matched:
    alike = found.class_ids[:, None] == picture.labels[None]
    partner = _partners(iou(found.xyxy, picture.boxes) * alike)
    counts = np.ones(len(found), bool)
    for row in crowds:
        x, y, width, height = row["bbox"]
        inside = _share_inside(found.xyxy, np.array([x, y, x + width, y + height], np.float32))
        counts &= (found.class_ids != row["category_id"]) | (inside < SAME_OBJECT)
    return _Matched(picture, found, partner, counts | (partner >= 0))


def _partners(overlaps: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the column that each row (N, M) gets, in order, each column once; -1 for none."""
    partner = np.full(len(overlaps), NOTHING)
    free = np.ones(overlaps.shape[1], bool)
    for i in np.flatnonzero(overlaps.max(1, initial=0) >= SAME_OBJECT):
        rest = overlaps[i] * free
        j = int(rest.argmax())
        if rest[j] >= SAME_OBJECT:
            partner[i], free[j] = j, False
    return partner


def _share_inside(boxes: Boxes, region: Boxes) -> NDArray[np.float32]:
    """Return which share of each box (N, 4) lies in a region (4,)."""
    low, high = np.maximum(boxes[:, :2], region[:2]), np.minimum(boxes[:, 2:], region[2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return np.asarray((high - low).clip(0).prod(1) / np.maximum(areas, 1e-9), np.float32)


def _curve(
    pictures: Sequence[_Matched], objects: int
) -> tuple[list[float | None], list[float], float | None]:
    """Return precision and recall at each of the scores, and the score with the highest F1."""
    scores = np.concatenate([one.found.scores[one.counts] for one in pictures])
    hits = np.concatenate([one.found.scores[one.partner >= 0] for one in pictures])
    thresholds = SCORES.astype(np.float32)
    found, right = (len(s) - np.searchsorted(np.sort(s), thresholds) for s in (scores, hits))
    precision = [int(r) / int(n) if n else None for r, n in zip(right, found, strict=True)]
    f1 = 2 * right / np.maximum(found + objects, 1)
    # Of scores that are equally good the middle one, which is the least likely to be by chance.
    best = np.flatnonzero(f1 >= f1.max() - 1e-9)
    threshold = float(SCORES[best[len(best) // 2]]) if f1.max() > 0 else None
    return precision, (right / max(objects, 1)).tolist(), threshold


def _at(
    threshold: float | None, pictures: Sequence[_Matched]
) -> tuple[list[list[int]], list[Wrong]]:
    """Return what is confused at a score threshold, and the pictures with most mistakes."""
    lowest = np.float32(1 if threshold is None else threshold)
    pairs: Counter[tuple[int, int]] = Counter()
    worst = []
    for picture, found, partner, counts in pictures:
        shown = (found.scores >= lowest) & counts
        hit = partner[shown & (partner >= 0)]
        missed = np.setdiff1d(np.arange(len(picture.labels)), hit)
        wrong = np.flatnonzero(shown & (partner < 0))
        pairs.update((int(c), int(c)) for c in picture.labels[hit])
        pairs.update(_confused(picture, found, missed, wrong))
        if len(missed) + len(wrong):
            worst.append((len(missed) + len(wrong), len(missed), len(wrong), picture, found[shown]))
    worst.sort(key=lambda row: -row[0])
    rows = [[*pair, count] for pair, count in sorted(pairs.items())]
    return rows, [
        Wrong(
            str(picture.path),
            missed,
            wrong,
            np.column_stack((picture.labels, picture.boxes)).tolist(),
            np.column_stack((found.class_ids, found.scores, found.xyxy)).tolist(),
        )
        for _, missed, wrong, picture, found in worst[:WORST]
    ]


def _confused(
    picture: AnnotatedPicture,
    found: Detections,
    missed: NDArray[np.int64],
    wrong: NDArray[np.int64],
) -> list[tuple[int, int]]:
    """Return pairs of classes: an object that was missed is one that was found as another class."""
    partner = _partners(iou(found.xyxy[wrong], picture.boxes[missed]))
    labels = picture.labels
    pairs = [
        (int(labels[missed[j]]) if j >= 0 else NOTHING, int(found.class_ids[i]))
        for i, j in zip(wrong, partner, strict=True)
    ]
    lost = np.delete(missed, partner[partner >= 0])
    return [*pairs, *((int(labels[j]), NOTHING) for j in lost)]
