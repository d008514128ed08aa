"""The ways that followed objects came, drawn as lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.drawing import SIDE_PER_PIXEL, class_colour

# How many frames a tail reaches back, and for how many an object may be hidden.
LENGTH, HIDDEN = 45, 30


class Tails:
    """Remembers where each track was, and draws lines that become thinner towards the past."""

    def __init__(self) -> None:
        self.points: dict[int, deque[tuple[int, int]]] = {}
        self.colours: dict[int, tuple[int, int, int]] = {}
        self.seen: dict[int, int] = {}
        self.frames = 0

    def draw(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        track_ids: NDArray[np.int64],
        class_ids: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """Return a copy of ``image`` (h, w, 3) uint8 BGR with the tails of the frame's tracks.

        ``xyxy`` (N, 4) are the frame's boxes in pixels, ``track_ids`` (N,) their tracks, -1 for
        none, and ``class_ids`` (N,) what their colours are.
        """
        self.frames += 1
        centres = ((xyxy[:, :2] + xyxy[:, 2:]) / 2).round().astype(np.int64)
        for track, centre, class_id in zip(
            track_ids.tolist(), centres.tolist(), class_ids.tolist(), strict=True
        ):
            if track >= 0:
                self.points.setdefault(track, deque(maxlen=LENGTH)).append(tuple(centre))
                self.colours[track] = class_colour(class_id)
                self.seen[track] = self.frames
        for track in [t for t, frame in self.seen.items() if self.frames - frame > HIDDEN]:
            del self.points[track], self.colours[track], self.seen[track]
        canvas = image.copy()
        thickest = max(2, round(np.sqrt(image.shape[0] * image.shape[1]) / SIDE_PER_PIXEL))
        for track in track_ids.tolist():
            if track >= 0:
                for start, end, share in self._lines(track):
                    thickness = max(1, round(thickest * share))
                    cv2.line(canvas, start, end, self.colours[track], thickness, cv2.LINE_AA)
        return canvas

    def _lines(self, track: int) -> Iterator[tuple[tuple[int, int], tuple[int, int], float]]:
        """Yield the pieces of a tail, and how near the present each of them is (0..1)."""
        points = list(self.points[track])
        for index in range(1, len(points)):
            yield points[index - 1], points[index], index / len(points)
