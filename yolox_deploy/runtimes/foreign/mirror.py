"""What a model sees in mirrored pictures: a witness of the input that it was trained on.

With the wrong input convention a model may report a lot, but not what it reports in the mirrored
picture.  On COCO pictures 4 % of such detections survive mirroring, 80 % of the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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
Run = Callable[[Array], Array]


class Steady(NamedTuple):
    """How many detections the mirrored pictures show too, in class and place, and how many all."""

    steady: int
    total: int

    @property
    def plenty(self) -> bool:
        """Whether enough of them are steady to be a witness."""
        return self.steady >= PLENTY

    def clearly_beats(self, other: Steady) -> bool:
        """Return whether this input is the right one, and the other one is not.

        An untrained network finds things everywhere, and few of them are steady.
        """
        return self.plenty and self.steady >= 3 * other.steady and 2 * self.steady >= self.total


class Mirrored(NamedTuple):
    """What a model detects steadily with plain pixels, 0..255, and with legacy ones."""

    plain: Steady
    legacy_input: Steady

    @property
    def legacy(self) -> bool | None:
        """Whether the model was trained on legacy input, ``None`` if this cannot tell."""
        if self.plain.clearly_beats(self.legacy_input):
            return False
        return True if self.legacy_input.clearly_beats(self.plain) else None

    @property
    def why(self) -> str:
        """What was seen, in words."""
        return (
            f"of {self.plain.total} detections with plain input {self.plain.steady} stay when the "
            f"pictures are mirrored, and {self.legacy_input.steady} of {self.legacy_input.total} "
            "with legacy input"
        )


def mirrored(run: Run, spec: ModelSpec, pictures: Sequence[NDArray[np.uint8]]) -> Mirrored:
    """Return what a model detects in ``pictures`` with either input, see :func:`steady`."""
    both = (replace(spec, input=convention) for convention in (RAW_INPUT, LEGACY_INPUT))
    return Mirrored(*(steady(run, each, pictures) for each in both))


def steady(run: Run, spec: ModelSpec, pictures: Sequence[NDArray[np.uint8]]) -> Steady:
    """Return what a model detects in ``pictures`` (h, w, 3) uint8 BGR with the input of ``spec``.

    ``run`` takes (1, 3, H, W) and returns (1, A, width), raw or decoded as ``spec`` says.
    """
    letterbox = Letterbox(spec.height, spec.width, spec.input)
    postprocess = Postprocess(spec, Thresholds(max_detections=None))
    count = total = 0

    def detect(view: NDArray[np.uint8]) -> tuple[Any, float]:
        tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
        ratio = letterbox(view, tensor[0])
        (candidates,) = postprocess.decode(run(tensor), 1)
        return postprocess.suppress(candidates), ratio

    for picture in pictures:
        here, ratio = detect(picture)
        if not len(here):
            continue
        there, _ = detect(np.ascontiguousarray(picture[:, ::-1]))
        back = there.xyxy[:, [2, 1, 0, 3]]
        back[:, [0, 2]] = picture.shape[1] * ratio - back[:, [0, 2]]
        overlaps = iou(here.xyxy, back)
        overlaps *= here.class_ids[:, None] == there.class_ids[None]
        count += int((overlaps.max(1, initial=0) > STEADY_IOU).sum())
        total += len(here)
    return Steady(count, total)
