"""Where followed objects are when their boxes are shown: each goes on at its own velocity.

A detection is as old as its detector is slow.  The velocity of a track is the slope of a line
through the centres of its last boxes (least squares).  Boxes that stand still tremble, and would be
moved by that: so the slope is made smaller the less it stands out of what the boxes scatter by,
as W. James and C. Stein (1961) shrink an estimate of few numbers towards zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.tasks import Detections

Array = NDArray[np.float64]
# Boxes that a velocity is made of: more are surer, and notice later that an object turns.
BOXES = 4
# What a detected edge is misplaced by at least, as a share of the box's side, as if it had been
# seen in so many boxes more: few boxes can lie on a line by chance.
TREMBLE, AS_BOXES = 0.04, 2
# So near to a border of the picture, as a share of its side, an object may go on beyond it.
AT_BORDER = 0.01
# An object does not grow or shrink by more than this factor from one detection to the next.
JUMP = 1.5
# So long an object is shown that the detector misses, with this share of its score.
BRIDGED_S, FADED = 0.2, 0.5
# A slope whose square is this many times that of its error, or less, is shrunk to nothing.
DOUBT = 3.0


class Moving(NamedTuple):
    """Detections of a frame with ``velocities`` (N, 4) float64, pixels per second of each edge."""

    found: Detections
    velocities: Array

    @classmethod
    def still(cls, found: Detections) -> Moving:
        """Return detections that do not move."""
        return cls(found, np.zeros((len(found), 4)))

    def after(self, seconds: float) -> Detections:
        """Return the detections where they are expected ``seconds`` after their frame.

        Boxes end at the borders of the picture, if its size is known; what has left it is left out.
        """
        boxes = self.found.xyxy + (self.velocities * seconds).astype(np.float32)
        if self.found.image_size is None:
            return self.found.moved(boxes)
        height, width = self.found.image_size
        # What reached beyond the picture before may do so still.
        limits = np.array((width, height, width, height), np.float32)
        low = np.minimum(self.found.xyxy, 0)
        high = np.maximum(self.found.xyxy, limits)
        boxes = np.clip(boxes, low, high)
        there = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
        return self.found.moved(boxes)[there]


class Ways:
    """The last boxes of every track."""

    def __init__(self, remembered: float) -> None:
        self.remembered = remembered
        self._ways: dict[int, deque[tuple[float, Array]]] = {}
        self._last: dict[int, Detections] = {}

    def note(self, found: Detections, time: float) -> None:
        """Add the boxes of a frame at ``time`` (seconds) by their ``track_ids``."""
        assert found.track_ids is not None
        boxes = found.xyxy.astype(float)
        for place, (track, box) in enumerate(zip(found.track_ids.tolist(), boxes, strict=True)):
            if track < 0:
                continue
            self._last[track] = found[place : place + 1]
            way = self._ways.setdefault(track, deque(maxlen=BOXES))
            if way and _jumped(way[-1][1], box):
                way.clear()
            way.append((time, box))
        ended = [t for t, way in self._ways.items() if time - way[-1][0] > self.remembered]
        for track in ended:
            del self._ways[track], self._last[track]

    def missed(self, time: float) -> list[Detections]:
        """Return the objects that were seen shortly before ``time``, and not then: where they are.

        They are fainter than when they were seen.
        """
        found = []
        for track, way in self._ways.items():
            if 0 < time - way[-1][0] <= BRIDGED_S:
                last = self._last[track]
                moved = Moving(last, self.velocities(last)).after(time - way[-1][0])
                found.append(replace(moved, scores=moved.scores * np.float32(FADED)))
        return found

    def velocities(self, found: Detections) -> Array:
        """Return the velocities (N, 4) of the edges of boxes; 0 of what has no track.

        Both edges move alike, but at a border of the picture: an edge there ends the picture, not
        the object, and stays.
        """
        borders = np.array(((-np.inf, np.inf), (-np.inf, np.inf)))
        if found.image_size is not None:
            sides = np.array(found.image_size[::-1], float)
            borders = np.stack((AT_BORDER * sides, (1 - AT_BORDER) * sides), 1)
        ids = [] if found.track_ids is None else found.track_ids.tolist()
        rows = [self._velocity(self._ways.get(track, ()), borders) for track in ids]
        return np.array(rows or np.zeros((len(found), 4)), float).reshape(-1, 4)

    def _velocity(self, way: Collection[tuple[float, Array]], borders: Array) -> Array:
        if len(way) < 2:
            return np.zeros(4)
        times = np.array([time for time, _ in way])
        boxes = np.array([box for _, box in way]).reshape(-1, 2, 2).transpose(2, 0, 1)
        # By axis and side: whether an edge was an object's in every box.
        clear = np.stack((boxes[..., 0] > borders[:, :1], boxes[..., 1] < borders[:, 1:]), 2)
        free = clear.all(1)
        weights = free / np.maximum(free.sum(1, keepdims=True), 1)
        places = (boxes * weights[:, None]).sum(2)
        times -= times.mean()
        places -= places.mean(1, keepdims=True)
        spread = float(times @ times)
        if not spread:
            return np.zeros(4)
        slope = places @ times / spread
        errors = ((places - slope[:, None] * times) ** 2).sum(1)
        errors += AS_BOXES * (TREMBLE * (boxes[..., 1] - boxes[..., 0]).mean(1)) ** 2
        # The mean square of the slope in units of its own standard error, over both directions.
        certainty = float((slope**2 * spread * len(times) / np.maximum(errors, 1e-9)).mean())
        slope *= max(0.0, 1 - DOUBT / max(certainty, 1e-9))
        return np.asarray((slope[:, None] * clear[:, -1]).T.reshape(4))


def _jumped(before: Array, box: Array) -> bool:
    """Whether a box (4,) is so much larger or smaller that the tracker took another object's."""
    sizes = [max(float((b[2] - b[0]) * (b[3] - b[1])), 1e-9) for b in (before, box)]
    return max(sizes) > JUMP * min(sizes)
