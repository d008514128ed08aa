"""Following objects from frame to frame: each one keeps its id.

ByteTrack (Y. Zhang et al., 2022, https://arxiv.org/abs/2110.06864) of Roboflow's package
``trackers``, with the times of the frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from yolox_deploy.errors import UsageError
from yolox_deploy.packages import install_line, require
from yolox_deploy.postprocess import SCORE_THRESHOLD, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Detections
from yolox_deploy.tasks.classes import Classes, class_ids_of
from yolox_deploy.tasks.merging import together
from yolox_deploy.tracking.motion import Moving, Ways

# The lowest score with which an object that is followed already is recognised: ByteTrack's.
FAINT = 0.1
# Seconds for which an object that is hidden keeps its id: ByteTrack's 30 frames of 30 FPS.
REMEMBERED_S = 1.0
# The lowest GIoU (H. Rezatofighi et al., 2019) of a detection and where its track is expected.
LEAST_GIOU = 0.0


class Tracker:
    """Gives the detections of successive frames ids, which are 1, 2, 3, ... and never used again.

    A track begins with a detection of at least ``score``; to go on, a fainter one is enough, so let
    the detector find more: :meth:`thresholds`.  An object has its id from the second frame
    on in which it is seen; until then, and if its class is none of ``classes`` (``None``: all), its
    id is -1.  Fainter detections that belong to no track are left out.  A track whose object is
    hidden ends after ``remembered`` seconds.

    ``fps`` is the usual rate of the frames.  Use one tracker for one video, or :meth:`reset` it.

    >>> tracker = Tracker()  # doctest: +SKIP
    >>> lower = tracker.thresholds(detector.thresholds, detector.spec)  # doctest: +SKIP
    >>> for frame in detector.stream("street.mp4", thresholds=lower):  # doctest: +SKIP
    ...     found = tracker(frame.detections, frame.time)

    Raises :class:`~yolox_deploy.errors.MissingPackageError` where ``trackers`` is not installed.
    """

    def __init__(
        self,
        score: float = SCORE_THRESHOLD,
        classes: Classes | None = None,
        *,
        fps: float = 30.0,
        remembered: float = REMEMBERED_S,
    ) -> None:
        require_trackers()
        if not 0 <= score <= 1:
            raise UsageError(f"score must lie in 0..1, got {score!r}")
        if not (0 < fps <= 10_000 and 0 <= remembered <= 3600):
            raise UsageError(f"fps must be above 0 and remembered 0 s or more: {fps}, {remembered}")
        self.score = score
        self.classes = classes
        self.fps = fps
        self.remembered = remembered
        self._used = 0
        self._highest = 0
        self.reset()

    def reset(self) -> None:
        """Forget every object, as for another video; ids go on where they were."""
        from trackers import ByteTrackTracker, GIoU

        self._used = self._highest
        self._ways, self._time = Ways(self.remembered), 0.0
        self._tracker: Any = ByteTrackTracker(
            # In frames at 30 FPS, whatever the rate is.
            lost_track_buffer=round(self.remembered * 30),
            frame_rate=self.fps,
            track_activation_threshold=self.score,
            high_conf_det_threshold=self.score,
            # Small objects that turn round overlap little with where they were expected.
            iou=GIoU(),
            minimum_iou_threshold=LEAST_GIOU,
        )

    def thresholds(self, usual: Thresholds, spec: ModelSpec) -> Thresholds:
        """Return thresholds with which a detector finds what this tracker can make use of.

        Fainter objects, and one box per object: a second one of another class would become a second
        track.  What has its NMS in the graph is fixed there.
        """
        score = min(FAINT, usual.score, self.score)
        if spec.output == "detections":
            return replace(usual, score=max(score, spec.score_threshold or 0.0))
        return replace(usual, score=score, class_agnostic=True)

    def __call__(self, found: Detections, time: float | None = None) -> Detections:
        """Return the detections of the next frame with ``track_ids``, best score first.

        ``time`` is that of the frame in seconds (``None``: one frame after the last).  A result of
        any task is taken, and returned as what it is.
        """
        import supervision

        followed = np.ones(len(found), bool)
        if self.classes is not None:
            followed = np.isin(found.class_ids, class_ids_of(self.classes, found.names))
        places = np.flatnonzero(followed)
        given = supervision.Detections(
            xyxy=found.xyxy[places].astype(np.float64),
            confidence=found.scores[places].astype(np.float64),
            class_id=found.class_ids[places],
            data={"place": places},
        )
        result = self._tracker.update(given, timestamp=time)
        ids = np.full(len(found), -1, np.int64)
        if len(result):
            numbers = np.asarray(result.tracker_id, np.int64)
            ids[result.data["place"]] = np.where(numbers < 0, -1, numbers + 1 + self._used)
        self._highest = max(self._highest, int(ids.max(initial=0)))
        kept = (ids >= 0) | (found.scores >= self.score)
        tracked = replace(found, track_ids=ids)[kept]
        self._time = self._time + 1 / self.fps if time is None else time
        self._ways.note(tracked, self._time)
        return tracked

    def moving(self, found: Detections) -> Moving:
        """Return what this tracker has just returned, with the velocity of each object.

        Objects that the detector has just missed, for up to 0.2 s, are there with half their score.
        """
        found = together([found, *self._ways.missed(self._time)])
        found = found[np.argsort(-found.scores, kind="stable")]
        return Moving(found, self._ways.velocities(found))

    def forecast(self, found: Detections, seconds: float) -> Detections:
        """Return what this tracker has just returned, where it will be ``seconds`` after its frame.

        Objects without an id stay where they were seen; those that have just been missed are as in
        :meth:`moving`.  What has left the picture is left out.

        >>> found = tracker(frame.detections, frame.time)  # doctest: +SKIP
        >>> now = tracker.forecast(found, frame.age)  # doctest: +SKIP
        """
        return self.moving(found).after(seconds)


def require_trackers() -> None:
    """Raise :class:`~yolox_deploy.errors.MissingPackageError` where ``trackers`` is missing."""
    require("trackers", "tracking needs the package trackers", install_line("track"))
