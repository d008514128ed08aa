"""What a model sees in mirrored pictures: a witness of the input that it was trained on.

With the wrong input convention a model may report a lot, but not what it reports in the mirrored
picture.  On COCO pictures 4 % of such detections survive mirroring, 80 % of the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import Postprocess, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.boxes import iou

# Steady detections that are "plenty" when the two input conventions are told apart.
PLENTY = 3
# Overlap of a detection with its counterpart in the mirrored picture.
STEADY_IOU = 0.7

Array = NDArray[np.float32]


class Steady(NamedTuple):
    """How many detections the mirrored pictures show too, in class and place, and how many all."""

    steady: int
    total: int


class Mirrored(NamedTuple):
    """What a model detects steadily with plain pixels, 0..255, and with legacy ones."""

    plain: Steady
    legacy_input: Steady

    @property
    def legacy(self) -> bool | None:
        """Whether the model was trained on legacy input, ``None`` if this cannot tell.

        An untrained network finds things everywhere, and few of them are steady.
        """
        for legacy, mine, other in (
            (False, self.plain, self.legacy_input),
            (True, self.legacy_input, self.plain),
        ):
            if mine.steady >= max(PLENTY, 3 * other.steady) and 2 * mine.steady >= mine.total:
                return legacy
        return None

    @property
    def why(self) -> str:
        """What was seen, in words."""
        return (
            f"of {self.plain.total} detections with plain input {self.plain.steady} stay when the "
            f"pictures are mirrored, and {self.legacy_input.steady} of {self.legacy_input.total} "
            "with legacy input"
        )


def mirrored(
    run: Callable[[Array], Array], spec: ModelSpec, pictures: Sequence[NDArray[np.uint8]]
) -> Mirrored:
    """Return what a model detects in ``pictures`` (h, w, 3) with either input convention.

    ``run`` takes (1, 3, H, W) and returns (1, A, width), raw or decoded as ``spec`` says.
    """
    postprocess = Postprocess(spec, Thresholds(max_detections=None))
    counts = []
    for convention in (RAW_INPUT, LEGACY_INPUT):
        letterbox = Letterbox(spec.height, spec.width, convention)
        each = [_steady(run, letterbox, postprocess, picture) for picture in pictures]
        counts.append(Steady(*map(sum, zip(*each, strict=True))))
    return Mirrored(*counts)


def _steady(
    run: Callable[[Array], Array],
    letterbox: Letterbox,
    postprocess: Postprocess,
    picture: NDArray[np.uint8],
) -> tuple[int, int]:
    found = []
    for view in (picture, np.ascontiguousarray(picture[:, ::-1])):
        tensor = np.empty((1, 3, letterbox.height, letterbox.width), np.float32)
        ratio = letterbox(view, tensor[0])
        (candidates,) = postprocess.decode(run(tensor), 1)
        found.append(postprocess.suppress(candidates))
    here, there = found
    back = there.xyxy[:, [2, 1, 0, 3]]
    back[:, [0, 2]] = picture.shape[1] * ratio - back[:, [0, 2]]
    overlaps = iou(here.xyxy, back)
    overlaps *= here.class_ids[:, None] == there.class_ids[None]
    return int((overlaps.max(1, initial=0) > STEADY_IOU).sum()), len(here)
