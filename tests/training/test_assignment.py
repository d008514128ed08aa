"""SimOTA on cases small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from yolox_deploy.training.assignment import Points, simota

# One level of 4 x 4 cells of 8 pixels: centres at 4, 12, 20 and 28.
POINTS = Points.of([(4, 4)], [8], torch.device("cpu"))
FIRST, RIGHT, BELOW = 5, 6, 9  # cells (1, 1), (2, 1) and (1, 2) as (column, row)


def predictions(boxes: Mapping[int, tuple[float, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return a batch of one picture: these boxes, elsewhere none; all logits 0, two classes."""
    decoded = torch.tensor([1000.0, 1000, 1, 1]).repeat(1, 16, 1)
    for point, box in boxes.items():
        decoded[0, point] = torch.tensor(box)
    return decoded, torch.zeros(1, 16), torch.zeros(1, 16, 2)


def positives(
    decoded: Tensor, objectness: Tensor, classes: Tensor, targets: list[list[float]]
) -> dict[int, int]:
    found = simota(decoded, objectness, classes, POINTS, torch.tensor(targets))
    return dict(zip(found.point.tolist(), found.target.tolist(), strict=True))


# IoU 1, 3/4 and 1/2 with the box around (12, 12) of side 16: their sum is 2.25, so k = 2.
THREE = {FIRST: (12, 12, 16, 16), RIGHT: (12, 10, 16, 12), BELOW: (12, 8, 16, 8)}
TARGET = [0.0, 0, 12, 12, 16, 16]


def test_k_is_the_sum_of_ious_and_the_cheapest_points_are_taken() -> None:
    assert positives(*predictions(THREE), [TARGET]) == {FIRST: 0, RIGHT: 0}


def test_a_wrong_class_can_cost_more_than_a_worse_box() -> None:
    # With logits 0 every score is sqrt(1/2 * 1/2) = 1/2.  A class probability of 1/50 makes RIGHT's
    # score sqrt(1/50 * 1/2) = 1/10: its class costs ln(1/0.1) - ln(1/0.5) = 1.61 more, while its
    # box costs only 3 * (ln(1/0.5) - ln(1/0.75)) = 1.22 less than BELOW's.
    decoded, objectness, classes = predictions(THREE)
    classes[0, RIGHT, 0] = torch.logit(torch.tensor(1 / 50))
    assert positives(decoded, objectness, classes, [TARGET]) == {FIRST: 0, BELOW: 0}


def test_only_points_near_the_centre_are_taken() -> None:
    # The cell (3, 3) is 16 pixels from the centre, more than 1.5 strides, and perfect in vain.
    boxes = {15: (12.0, 12.0, 16.0, 16.0), BELOW: (12.0, 8.0, 16.0, 8.0)}
    assert positives(*predictions(boxes), [TARGET]) == {BELOW: 0}


def test_a_point_that_two_boxes_want_goes_to_the_cheaper_one() -> None:
    # FIRST predicts the second box exactly and overlaps the first one by 3/4, all that either has.
    other = [0.0, 0, 12, 10, 16, 12]
    found = positives(*predictions({FIRST: (12, 10, 16, 12)}), [TARGET, other])
    assert found[FIRST] == 1
    assert set(found.values()) <= {0, 1}


def test_a_batch_is_assigned_like_its_pictures_one_by_one() -> None:
    generator = torch.Generator().manual_seed(5)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    points = Points.of([(8, 8), (4, 4), (2, 2)], [8, 16, 32], torch.device("cpu"))
    centres = points.centres + 8 * (rand(3, 84, 2) - 0.5)
    boxes = torch.cat((centres, 6 + 40 * rand(3, 84, 2)), -1)
    objectness, classes = 4 * rand(3, 84) - 2, 4 * rand(3, 84, 5) - 2
    image = torch.tensor([0] * 9 + [2] * 7)[:, None]
    label = (rand(16, 1) * 5).floor()
    targets = torch.cat((image, label, 8 + 48 * rand(16, 2), 6 + 40 * rand(16, 2)), 1)

    whole = simota(boxes, objectness, classes, points, targets)
    together = set(
        zip(*(t.tolist() for t in (whole.image, whole.point, whole.target)), strict=True)
    )
    alone = set()
    for i in range(3):
        mine = (targets[:, 0] == i).nonzero().flatten()
        part = targets[mine].clone()
        part[:, 0] = 0
        found = simota(boxes[i : i + 1], objectness[i : i + 1], classes[i : i + 1], points, part)
        alone |= {
            (i, p, int(mine[t]))
            for p, t in zip(found.point.tolist(), found.target.tolist(), strict=True)
        }
    assert together == alone
    assert len(together) >= 16
