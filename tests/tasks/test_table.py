"""Every task: from an output that is computed by hand to the result."""

from __future__ import annotations

import numpy as np
import pytest

from yolox_deploy.postprocess import Postprocess, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import TASKS

# A row of a small model's raw output for the classes cat and dog, in the cell whose left upper
# corner is (8, 8); and the result in a picture of twice the size, as ``to_dict`` gives it.
HAND = {
    "detect": (
        (0.5, 0.5, 1, 1, 0.9, 0.1, 0.8),
        {"name": "dog", "class_id": 1, "score": 0.72, "xyxy": [2.254, 2.254, 45.746, 45.746]},
    ),
}


def test_every_task_has_its_test_material() -> None:
    assert set(HAND) == set(TASKS), "add a row to HAND in this file"


@pytest.mark.parametrize("name", TASKS)
def test_an_output_becomes_the_result_that_is_computed_by_hand(name: str) -> None:
    row, expected = HAND[name]
    spec = ModelSpec("small", ("cat", "dog"), height=64, width=64, task=name)
    output = np.zeros((1, spec.num_anchors, TASKS[name].width(spec)), np.float32)
    output[0, 9] = row
    (found,) = Postprocess(spec, Thresholds())(output, ratios=[0.5], image_sizes=[(128, 128)])
    (only,) = found.to_dict()
    assert only == expected
    assert type(found) is TASKS[name].result
