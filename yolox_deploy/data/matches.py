"""Which detections matched, picture by picture: AP of any resampling of the pictures.

COCO's AP has no formula for its error.  The bootstrap draws the pictures again, with replacement,
and measures AP of each draw (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).  Models
that are compared see the same draws, so the interval of their difference is much narrower than
those of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The interval holds this share of the draws.
CONFIDENCE = 0.95
Floats = NDArray[np.float64]


class ClassMatches(NamedTuple):
    """Detections of one category, best first: whether each is a hit, and whether it counts.

    ``hits`` and ``counted`` are (T, D) for T IoU thresholds, ``pictures`` (D,) the detections'
    pictures, ``objects`` (I,) the number of annotated objects in each picture.
    """

    hits: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    objects: NDArray[np.int64]


class Matches(NamedTuple):
    """The matches of every category that has objects, and the recalls that AP averages over."""

    classes: list[ClassMatches]
    recalls: Floats
    pictures: int

    def ap(self, weights: NDArray[np.int64]) -> float:
        """Return AP where each picture counts ``weights`` (I,) times; with ones it is COCO's."""
        found = [v for c in self.classes if (v := self._class_ap(c, weights)) is not None]
        return float(np.mean(found)) if found else 0.0

    def _class_ap(self, one: ClassMatches, weights: NDArray[np.int64]) -> float | None:
        objects = int((one.objects * weights).sum())
        if not objects:
            return None
        count = weights[one.pictures]
        hits = np.cumsum(one.hits * count, 1, dtype=float)
        false = np.cumsum((one.counted & ~one.hits) * count, 1, dtype=float)
        precision = hits / (hits + false + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        total = 0.0
        for recall, values in zip(hits / objects, precision, strict=True):
            places = np.searchsorted(recall, self.recalls, side="left")
            total += float(values[places[places < len(values)]].sum())
        return total / (len(hits) * len(self.recalls))


def matches_of(evaluation: Any) -> Matches:
    """Return what a ``COCOeval`` has matched, for objects of all sizes."""
    params = evaluation.params
    areas, count = len(params.areaRng), len(params.imgIds)
    classes = []
    for index in range(len(params.catIds)):
        start = index * areas * count
        entries = list(enumerate(evaluation.evalImgs[start : start + count]))
        objects = np.array(
            [0 if e is None else int((e["gtIgnore"] == 0).sum()) for _, e in entries]
        )
        if not objects.any():
            continue
        found = [(i, e) for i, e in entries if e is not None]
        most = params.maxDets[-1]
        scores = np.concatenate([e["dtScores"][:most] for _, e in found])
        order = np.argsort(-scores, kind="mergesort")
        hits, ignored = (
            np.concatenate([np.asarray(e[key])[:, :most] for _, e in found], 1)[:, order] != 0
            for key in ("dtMatches", "dtIgnore")
        )
        pictures = np.repeat([i for i, _ in found], [len(e["dtScores"][:most]) for _, e in found])
        classes.append(ClassMatches(hits & ~ignored, ~ignored, pictures[order], objects))
    return Matches(classes, np.asarray(params.recThrs), count)


def interval(a: Matches, b: Matches, draws: int, seed: int) -> tuple[float, float]:
    """Return the interval of AP of ``b`` minus AP of ``a``, which saw the same pictures."""
    return ends(resampled(b, draws, seed) - resampled(a, draws, seed))


def resampled(matches: Matches, draws: int, seed: int) -> Floats:
    """Return AP of each draw; the same seed draws the same pictures."""
    weights = _drawn(np.random.default_rng(seed), matches.pictures, draws)
    return np.array([matches.ap(drawn) for drawn in weights])


def ends(values: Floats) -> tuple[float, float]:
    """Return the ends of the interval that holds :data:`CONFIDENCE` of the draws."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _drawn(random: np.random.Generator, count: int, draws: int) -> Iterator[NDArray[np.int64]]:
    for _ in range(draws):
        yield np.bincount(random.integers(count, size=count), minlength=count)
