"""Detections chosen by class, score and size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.errors import UsageError
from yolox_deploy.tasks.detections import Column
from yolox_deploy.timing import StageSeconds

# Areas of 200, 9 and 5 pixels.
FOUND = Detections(
    [[0, 0, 10, 20], [5, 6, 8, 9], [1.25, 2.5, 3.75, 4.5]],
    [0.9, 0.5, 0.125],
    [1, 0, 2],
    ("cat", "dog", "cow"),
    (40, 50),
)


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"classes": "dog"}, [0]),
        ({"classes": 2}, [2]),
        ({"classes": ["cow", 1]}, [0, 2]),
        ({"classes": []}, []),
        ({"min_score": 0.5}, [0, 1]),
        ({"min_score": 0}, [0, 1, 2]),
        ({"min_score": 0.9}, [0]),
        ({"min_score": 1}, []),
        ({"min_area": 9}, [0, 1]),
        ({"max_area": 9}, [1, 2]),
        ({"min_area": 6, "max_area": 100}, [1]),
        ({"classes": ["dog", "cat"], "min_score": 0.6, "min_area": 10}, [0]),
    ],
)
def test_every_condition_must_be_met(conditions: dict[str, Any], kept: list[int]) -> None:
    found = FOUND.filter(**conditions)
    assert found == FOUND[kept]
    assert found.image_size == (40, 50)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"classes": "dgo"}, "did you mean 'dog'"),
        ({"classes": 3}, r"0\.\.2"),
        ({"min_score": 50}, r"min_score must be in 0\.\.1, got 50"),
        ({"min_score": float("nan")}, "nan"),
        ({"min_score": "high"}, "'high'"),
        ({"min_area": -1}, "min_area must be 0 or more"),
        ({"max_area": [1, 2]}, "max_area"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(
    conditions: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        FOUND.filter(**conditions)


def test_detections_without_names_are_chosen_by_id() -> None:
    plain = Detections([[0, 0, 1, 1]] * 2, [0.9, 0.8], [7, 9])
    assert plain.filter(9) == plain[[1]]
    with pytest.raises(UsageError, match="class id instead"):
        plain.filter("cat")


def test_nothing_can_be_filtered() -> None:
    assert len(Detections.empty(("cat",)).filter("cat", min_score=0.1, min_area=1)) == 0


@dataclass(frozen=True, eq=False, repr=False)
class Weighed(Detections):
    weights: Any = field(default_factory=lambda: np.empty(0, np.float32))
    columns: ClassVar[Any] = {**Detections.columns, "weights": Column((), np.float32)}

    def labels(self) -> list[str]:
        return [f"{w:.0f} kg" for w in self.weights]


WEIGHED = Weighed([[20, 30, 60, 70]] * 2, [0.9, 0.8], [0, 1], ("a", "b"), weights=[3, 4])


def test_the_result_of_another_task_keeps_its_class_its_columns_and_its_time() -> None:
    timed = WEIGHED.timed(StageSeconds(1, 2, 3, 4))
    found = timed.filter("b")
    assert type(found) is Weighed
    assert found.weights.tolist() == [4]
    assert found.seconds == timed.seconds


def test_the_result_of_another_task_is_drawn_with_its_own_labels() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    plain = Detections(WEIGHED.xyxy, WEIGHED.scores, WEIGHED.class_ids, WEIGHED.names)
    assert (WEIGHED.draw(image) != plain.draw(image)).any()
    assert (WEIGHED.draw(image, labels=False) == plain.draw(image, labels=False)).all()


def test_xywh_has_the_corner_and_the_size() -> None:
    assert FOUND.xywh.tolist() == [[0, 0, 10, 20], [5, 6, 3, 3], [1.25, 2.5, 2.5, 2]]
    assert FOUND.xywh.dtype == np.float32
    assert Detections.empty().xywh.shape == (0, 4)
    before = FOUND.xyxy.copy()
    FOUND.xywh[:] = 0
    np.testing.assert_array_equal(FOUND.xyxy, before)
