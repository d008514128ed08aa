"""The one way after the engine: decoding, filter, suppression, bounds, and back to the picture.

The detector, the verification, AP, training's evaluation and streaming all call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Candidates, Detections, task_of
from yolox_deploy.tasks.boxes import FAINTEST
from yolox_deploy.tasks.classes import Classes, class_ids_of, is_integer
from yolox_deploy.tasks.merging import View
from yolox_deploy.tasks.nms import nms

# Thresholds of the original's demo.
SCORE_THRESHOLD = 0.25
IOU_THRESHOLD = 0.45


@dataclass(frozen=True)
class Thresholds:
    """What counts as found.

    A detection has a score of at least ``score``.  Of two boxes whose IoU is above ``iou`` the
    better one stays, within a class or, if ``class_agnostic``, over all classes.
    ``max_detections`` bounds their number per picture (``None``: no bound).  ``clip`` keeps boxes
    within the picture.

    Raises :class:`UsageError` for values that make no sense.
    """

    score: float = SCORE_THRESHOLD
    iou: float = IOU_THRESHOLD
    class_agnostic: bool = False
    max_detections: int | None = 300
    clip: bool = True

    def __post_init__(self) -> None:
        for word, value in (("score", self.score), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"{word}_threshold must lie in 0..1, got {value}")
        most = self.max_detections
        if most is not None and not (is_integer(most) and most > 0):
            raise UsageError(f"max_detections must be at least 1 or None, got {most!r}")


def usual_score(spec: ModelSpec) -> float:
    """Return the score threshold for a user who gives none: what the model's file suggests.

    Where it suggests none, that of the original's demo.
    """
    if spec.suggested_score_threshold is None:
        return SCORE_THRESHOLD
    return max(spec.suggested_score_threshold, spec.score_threshold or 0.0)


# The original's evaluation: everything above noise, a lenient NMS, boxes as the network gives them.
EVALUATION = Thresholds(FAINTEST, 0.65, max_detections=None, clip=False)


class Postprocess:
    """Turns the outputs of one model into results; holds constants only, so threads may share it.

    ``classes`` (a name, an id, or a list of them) restricts what is looked for (``None``: all
    classes).

    Raises :class:`UsageError` for a class that the model does not have, and for thresholds that
    differ from those of a suppression in the graph.
    """

    def __init__(
        self, spec: ModelSpec, thresholds: Thresholds, classes: Classes | None = None
    ) -> None:
        self.spec = spec
        self.thresholds = thresholds
        self.task = task_of(spec)
        self.in_graph = spec.output == "detections"
        self.wanted: NDArray[np.bool_] | None = None
        if classes is not None:
            self.wanted = np.zeros(spec.num_classes, bool)
            self.wanted[class_ids_of(classes, spec.class_names, spec.num_classes)] = True
        if self.in_graph:
            _check_thresholds_in_graph(spec, thresholds)
        else:
            self.decoder = self.task.decoder(spec)

    def __call__(
        self,
        output: NDArray[np.float32],
        ratios: Sequence[float],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Detections]:
        """Return the result of each picture of a batch's output.

        ``output`` is (N, A, width), or (K, width) behind a suppression in the graph; ``ratios``
        are the N letterbox ratios, ``image_sizes`` the N pictures' (height, width).
        """
        found = self.decode(output, len(ratios))
        return [self.finish(*of_one) for of_one in zip(found, ratios, image_sizes, strict=True)]

    def decode(self, output: NDArray[np.float32], count: int) -> list[Candidates]:
        """Return the candidates of each of ``count`` pictures, in input pixels."""
        if self.in_graph:
            pictures = output[:, self.task.graph_columns(self.spec)["picture"].start]
            return [self.task.from_graph(output[pictures == i], self.spec) for i in range(count)]
        return [self.decoder.candidates(rows, self.thresholds.score) for rows in output]

    def suppress(self, found: Candidates) -> Candidates:
        """Return the candidates that stay, best score first, still in input pixels."""
        thresholds = self.thresholds
        if self.wanted is not None:
            found = found[self.wanted[found.class_ids]]
        if self.in_graph:
            kept = np.flatnonzero(found.scores >= thresholds.score)
            kept = kept[np.argsort(-found.scores[kept], kind="stable")]
        else:
            boxes = found.xyxy, found.scores, found.class_ids
            kept = nms(*boxes, thresholds.iou, class_agnostic=thresholds.class_agnostic)
        return found.take(kept[: thresholds.max_detections])

    def finish(self, found: Candidates, ratio: float, image_size: tuple[int, int]) -> Detections:
        """Suppress, and return one picture's result in pixels of the picture."""
        return self.task.to_picture(
            self.suppress(found), self.spec, ratio, image_size, clip=self.thresholds.clip
        )

    def merge(self, views: Sequence[View], image_size: tuple[int, int]) -> Detections:
        """Return what several views of a picture of (height, width) show together.

        Their boxes may reach beyond them, see ``clip`` of :class:`Thresholds`.
        """
        given = self.thresholds
        found = self.task.merge(
            views,
            image_size,
            iou=given.iou,
            class_agnostic=given.class_agnostic,
            clip=given.clip,
        )
        return found[: given.max_detections]


def _check_thresholds_in_graph(spec: ModelSpec, thresholds: Thresholds) -> None:
    """Refuse thresholds that an artifact with NMS in its graph cannot serve."""
    problems = []
    if spec.score_threshold is not None and thresholds.score < spec.score_threshold:
        problems.append(f"score_threshold {thresholds.score} < {spec.score_threshold}")
    if spec.iou_threshold is not None and thresholds.iou != spec.iou_threshold:
        problems.append(f"iou_threshold {thresholds.iou}, not {spec.iou_threshold}")
    if thresholds.class_agnostic:
        problems.append("class_agnostic, not per class")
    if problems:
        raise UsageError(
            f"{spec.name} has its NMS in the graph, which fixes the thresholds: "
            f"{'; '.join(problems)}; export again without --nms to choose freely"
        )
