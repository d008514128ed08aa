"""Views of one picture put together: every object once, whatever seam it lies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detections
from yolox_deploy.mapping.tiles import Tiling
from yolox_deploy.postprocess import Postprocess, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.detections import Column
from yolox_deploy.tasks.merging import View

NAMES = ("bus", "person")
HEIGHT, WIDTH, TILE = 300, 400, 100
SPEC = ModelSpec("small", NAMES, height=96, width=96)

Row = tuple[Sequence[float], float, int]


def windows(overlap: float) -> list[tuple[int, int, int, int]]:
    return Tiling(TILE, overlap).windows(HEIGHT, WIDTH, SPEC)


def view(window: tuple[int, int, int, int], *rows: Row) -> View:
    """A view in which rows (box in pixels of the picture, score, class id) were found."""
    x, y, right, bottom = window
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4) - (x, y, x, y)
    scores, ids = [s for _, s, _ in rows], [c for *_, c in rows]
    return View(window, Detections(boxes, scores, ids, NAMES, (bottom - y, right - x)))  # type: ignore[arg-type]


def merge(views: list[View], **options: Any) -> Detections:
    return Postprocess(SPEC, Thresholds(**options)).merge(views, (HEIGHT, WIDTH))


def seen(
    box: Sequence[float], overlap: float, noise: float = 0.0, *, whole: bool = False
) -> list[View]:
    """What each tile shows of one object, and the whole picture if it is found there.

    Edges are misplaced by ``noise`` of the side, scores are at random.
    """
    random = np.random.default_rng(round(sum(box)))
    found = []
    for number, window in enumerate(windows(overlap)):
        low, high = np.maximum(box[:2], window[:2]), np.minimum(box[2:], window[2:])
        sides = high - low
        rows: list[Row] = []
        if (sides > 4).all() and (number or whole):
            wrong = random.normal(0, noise, 4) * np.tile(sides, 2)
            part = np.concatenate((low, high)) + wrong
            rows.append((part.tolist(), random.uniform(0.3, 0.9), 0))
        found.append(view(window, *rows))
    return found


@pytest.mark.parametrize(("whole", "noise"), [(False, 0.0), (False, 0.02), (True, 0.02)])
@pytest.mark.parametrize("side", [20, 60, 130, 200])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_an_object_on_any_seam_is_one_box(
    overlap: float, side: int, whole: bool, noise: float
) -> None:
    for x, y in product(range(0, WIDTH - side, 37), (0, 50, 90)):
        box = (x, y, x + side, y + side)
        found = merge(seen(box, overlap, noise, whole=whole))
        assert len(found) == 1, (box, found.xyxy)
        assert np.abs(found.xyxy[0] - box).max() <= 4 + 4 * noise * side


def test_neighbours_at_a_seam_stay_two() -> None:
    left, right, lower, *_ = windows(0)[1:]
    rows = [((40, 20, 80, 60), 0.9, 0), ((120, 20, 160, 60), 0.8, 0)]
    assert len(merge([view(left, rows[0]), view(right, rows[1])])) == 2
    # Both end at the seam, one beside the other: a person and a bus.
    beside = [view(left, ((90, 0, 100, 20), 0.9, 1)), view(right, ((100, 0, 180, 90), 0.8, 0))]
    assert len(merge([*beside, view(lower)])) == 2


def test_what_stands_in_front_of_a_whole_box_stays_and_its_pieces_go() -> None:
    whole, left, right, *_ = windows(0)
    bus, person = (20, 10, 300, 90), ((60, 40, 80, 89), 0.4, 1)
    piece, wrong = ((20, 10, 100, 90), 0.95, 0), ((100, 12, 200, 90), 0.9, 1)
    cut = ((92, 40, 100, 89), 0.5, 1)
    found = merge([view(whole, (bus, 0.6, 0)), view(left, piece, person, cut), view(right, wrong)])
    assert [d.name for d in found] == ["bus", "person", "person"]
    np.testing.assert_array_equal(found.xyxy, [bus, cut[0], person[0]])


def test_views_that_disagree_are_decided_by_the_better_one() -> None:
    whole, left, *_ = windows(0.5)
    box = (20, 20, 60, 60)
    two = view(left, (box, 0.8, 0), (box, 0.5, 1))
    assert [d.name for d in merge([view(whole, (box, 0.4, 1)), two])] == ["bus", "person"]
    assert [d.name for d in merge([view(whole, (box, 0.9, 1)), two])] == ["person"]
    assert len(merge([view(whole), two], class_agnostic=True)) == 1


def test_boxes_end_at_the_picture_unless_told_otherwise_and_never_beyond_their_tile() -> None:
    whole, left, right, *_ = windows(0)
    views = [view(whole), view(left, ((-9, 20, 60, 60), 0.9, 0)), view(right)]
    assert merge(views).xyxy.tolist() == [[0, 20, 60, 60]]
    assert merge(views, clip=False).xyxy.tolist() == [[-9, 20, 60, 60]]
    guessed = view(left, ((60, 20, 150, 60), 0.9, 0))
    assert merge([view(whole), guessed, view(right)]).xyxy.tolist() == [[60, 20, 100, 60]]
    assert (
        len(merge([*views[:2], view(right, ((150, 20, 190, 60), 0.5, 0))], max_detections=1)) == 1
    )
    assert len(merge([view(window) for window in windows(0)])) == 0


@dataclass(frozen=True, eq=False, repr=False)
class Pointed(Detections):
    """Detections with the middle of each object's upper side, which moves with its box."""

    tops: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 2), np.float32))
    columns: ClassVar[Mapping[str, Column]] = {
        **Detections.columns,
        "tops": Column((2,), np.float32),
    }

    def moved(self, xyxy: NDArray[np.float32]) -> Self:
        return replace(self, xyxy=xyxy, tops=self.tops + xyxy[:, :2] - self.xyxy[:, :2])


def test_what_else_a_result_holds_comes_along() -> None:
    _, left, right, *_ = windows(0)
    one, other = (
        View(window, Pointed([box], [0.9], [0], NAMES, (TILE, TILE), tops=[[40, 20]]))  # type: ignore[arg-type, list-item]
        for window, box in ((left, [20, 20, 60, 60]), (right, [30, 20, 50, 60]))
    )
    found = merge([one, other])
    assert isinstance(found, Pointed)
    assert found.tops.tolist() == [[40, 20], [140, 20]]
