"""What ``yolox-detect`` does with its sources: detect, give the results to the sinks, and count."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import groupby, islice
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.detector import Detector
from yolox_deploy.errors import InputFileError, number_of
from yolox_deploy.files import STANDARD_OUTPUT
from yolox_deploy.postprocess import Thresholds
from yolox_deploy.progress import track
from yolox_deploy.sinks import Sink
from yolox_deploy.sources import DetectedFrame, Frame, Source
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import counted, output_unread, print_line
from yolox_deploy.tracking import Tracker

# So many pictures are worth opening the model several times.
MANY = 100

Found = tuple[Frame, Detections]


class _NobodyReadsError(Exception):
    """The results go to the standard output alone, and its reader has closed it."""


class Run:
    """One run over all sources.

    ``tiles`` are the arguments of ``Detector.tiled``, if pictures are divided.  ``unreadable`` are
    the errors of sources that could not be read; the others were done.
    """

    def __init__(
        self,
        detector: Detector,
        sinks: Sequence[Sink],
        batch: int = 1,
        live: bool | None = None,
        tracker: Tracker | None = None,
        tiles: Mapping[str, Any] = {},
    ) -> None:
        self.detector, self.sinks, self.tiles = detector, sinks, tiles
        self.batch, self.live = batch, live
        self.tracker = tracker
        self.thresholds: Thresholds | None = None
        if tracker is not None:
            self.thresholds = tracker.thresholds(detector.thresholds, detector.spec)
        # Whether boxes are moved to the moment of their result, and by how long in all.
        self.forecast, self.moved = False, 0.0
        # Of each object that was followed, its number and its class.
        self.tracks: dict[int, str] = {}
        self.film: object = None
        self.unreadable: list[str] = []
        self.counts: Counter[str] = Counter()
        self.pictures = self.frames = self.dropped = 0
        self.seconds = 0.0

    def __call__(self, sources: Sequence[Source]) -> None:
        """Detect in every source, in order, until nobody reads the results."""
        start = perf_counter()
        try:
            with suppress(_NobodyReadsError):
                for moving, group in groupby(sources, lambda source: source.moving):
                    if moving:
                        for source in group:
                            self._film(source)
                    else:
                        self._pictures(list(group), heading=len(sources) > 1)
        finally:
            self.seconds = perf_counter() - start

    def _pictures(self, sources: Sequence[Source], *, heading: bool) -> None:
        """Detect in pictures, a batch at a time; in many pictures, several batches at once."""
        readable = self._readable(track(sources, len(sources)))
        detect = self._at_once if len(sources) >= MANY else self._in_batches
        detect = self._in_tiles if self.tiles else detect
        with closing(detect(readable)) as pairs:
            for frame, found in pairs:
                found = self._give(frame, found)
                self.pictures += 1
                print_found(frame.source.name, found, heading=heading)
                self._demand_reader()

    def _in_batches(self, frames: Iterator[Frame]) -> Generator[Found, None, None]:
        while chunk := list(islice(frames, self.batch)):
            results = self.detector.batch([frame.image for frame in chunk], self.thresholds)
            yield from zip(chunk, results, strict=True)

    def _in_tiles(self, frames: Iterator[Frame]) -> Generator[Found, None, None]:
        for frame in frames:
            yield frame, self.detector.tiled(frame.image, thresholds=self.thresholds, **self.tiles)

    def _at_once(self, frames: Iterator[Frame]) -> Generator[Found, None, None]:
        waiting: deque[Frame] = deque()

        def images() -> Iterator[NDArray[np.uint8]]:
            for frame in frames:
                waiting.append(frame)
                yield frame.image

        given = self.detector.map(images(), batch=self.batch, thresholds=self.thresholds)
        with closing(given) as results:
            for found in results:
                yield waiting.popleft(), found

    def _readable(self, sources: Iterator[Source]) -> Iterator[Frame]:
        """Yield every picture that can be read."""
        for source in sources:
            try:
                yield from source.frames()
            except InputFileError as error:
                self.unreadable.append(str(error))

    def _film(self, source: Source) -> None:
        """Detect in every frame of a video, a camera or a stream."""
        live = source.live if self.live is None else self.live
        before = self.frames
        try:
            with closing(
                self.detector.stream(source, live=live, thresholds=self.thresholds, **self.tiles)
            ) as frames:
                for frame in track(frames, lambda: source.count, "frames"):
                    self._give(frame, frame.detections)
                    self.frames += 1
                    self.dropped += frame.dropped
                    self._demand_reader()
        except InputFileError as error:
            self.unreadable.append(str(error))
        if self.frames > before:
            print_line(f"{source.name}: {self.frames - before} frames", whole=True)

    def _give(self, frame: Frame, found: Detections) -> Detections:
        """Track, count, and give a result to the sinks; returns it."""
        if self.tracker is not None:
            source = frame.source
            if source.film != self.film:
                self.film = source.film
                self.tracker.reset()
            found = self.tracker(found, frame.time if source.moving else None)
            assert found.track_ids is not None
            for d, number in zip(found, found.track_ids.tolist(), strict=True):
                if number >= 0:
                    self.tracks[number] = d.name
            if self.forecast and isinstance(frame, DetectedFrame):
                found = self.tracker.forecast(found, frame.age)
                self.moved += frame.age
        self.counts.update(d.name for d in found)
        for sink in self.sinks:
            sink.take(frame, found)
        return found

    def _demand_reader(self) -> None:
        if all(sink.path == STANDARD_OUTPUT for sink in self.sinks) and output_unread():
            raise _NobodyReadsError

    @property
    def done(self) -> str:
        """What was done, in words."""
        one = (("picture", self.pictures), ("frame", self.frames))
        parts = [f"{n} {word}{'s' * (n != 1)}" for word, n in one if n or word == "picture"]
        return " and ".join(parts if self.pictures or not self.frames else parts[1:])

    @property
    def summary(self) -> str:
        """What was done and found, how fast, in one line."""
        if not self.pictures and not self.frames:
            return "no picture and no frame could be read"
        rate = (self.pictures + self.frames) / self.seconds
        dropped = f", {self.dropped} frames left out" if self.dropped else ""
        objects = f"in all frames {counted(self.counts)}" if self.frames else counted(self.counts)
        if self.tracker:
            followed = number_of(len(self.tracks), "object")
            classes = f", {counted(Counter(self.tracks.values()))}" if self.tracks else ""
            objects = f"{followed} followed{classes}"
        if self.forecast:
            objects += f", moved by {self.moved / self.frames * 1e3:.0f} ms"
        times = f"{self.seconds:.1f} s ({rate:.1f}/s{dropped})"
        return f"{self.done} in {times}, {self.detector.backend}: {objects}"


def print_found(name: str, found: Detections, *, heading: bool) -> None:
    """Print a line per detection, below the name of the picture if there are several."""
    indent = "  " if heading else ""
    if heading:
        print_line(name if len(found) else f"{name}: nothing", whole=True)
    ids = [-1] * len(found) if found.track_ids is None else found.track_ids
    for d, track_id in zip(found, ids, strict=True):
        x1, y1, x2, y2 = d.xyxy
        named = f"{d.name} #{track_id}" if track_id >= 0 else d.name
        print_line(f"{indent}{named} {d.score:.3f}  {x1:.0f},{y1:.0f} to {x2:.0f},{y2:.0f}")
