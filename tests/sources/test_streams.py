"""``Detector.stream``: all stages at the same time and in order, or the newest frame only."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import UNEVEN, grey, number_of, write_film

from yolox_deploy import Detections, Detector
from yolox_deploy.errors import ImageError, SourceError, UsageError
from yolox_deploy.sources import Frame, Source, detect_frames
from yolox_deploy.sources.ahead import ahead


def nothing(image: Any) -> Detections:
    return Detections.empty()


class Counting(Source):
    """Frames without end, which count how many of them were read."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__("counting")
        self.read = 0
        self.fail_at = fail_at
        self.over = threading.Event()

    def frames(self) -> Generator[Frame, None, None]:
        try:
            while self.read != self.fail_at:
                self.read += 1
                yield Frame(grey(0), self, self.read - 1)
            raise SourceError("it broke")
        finally:
            self.over.set()


def test_a_few_frames_are_read_ahead_and_leaving_ends_it() -> None:
    source = Counting()
    stream = detect_frames([source], nothing)
    assert [next(stream).index for _ in range(50)] == list(range(50))
    # What waits, what is worked on, and what is handed over, twice.
    assert source.read <= 50 + 2 * (4 + 2)
    stream.close()
    assert source.over.wait(60)
    assert not [t for t in threading.enumerate() if t.name == "yolox_deploy-ahead" and not t.daemon]


def test_an_error_comes_after_what_was_good() -> None:
    seen: list[int] = []
    stream = detect_frames([Counting(5)], nothing)
    seen += [next(stream).index for _ in range(5)]
    with pytest.raises(SourceError, match="it broke"):
        next(stream)
    assert seen == list(range(5))


def test_reading_detecting_and_using_overlap() -> None:
    """Each stage waits until the others are at work too: one after the other they would not end."""
    meeting = threading.Barrier(3, timeout=60)

    class Meeting(Counting):
        def frames(self) -> Generator[Frame, None, None]:
            for frame in super().frames():
                if frame.index == 2:
                    meeting.wait()
                if frame.index == 3:
                    return
                yield frame

    def detect(image: Any) -> Detections:
        detected.append(0)
        if len(detected) == 2:
            meeting.wait()
        return Detections.empty()

    detected: list[int] = []
    for frame in detect_frames([Meeting()], detect):
        if frame.index == 0:
            meeting.wait()
    assert len(detected) == 3


def test_a_source_that_is_silent_for_too_long_is_an_error() -> None:
    def silent() -> Iterator[int]:
        threading.Event().wait()
        yield 0

    with pytest.raises(SourceError, match=r"the source: nothing came for 0\.01 s"):
        next(ahead(silent(), patience=0.01))


class Clock:
    """A clock for a camera and for the one who looks at its frames.

    It stands while something is to be done, and goes on while one of them waits: during a detection
    (:meth:`pass_by`), and while all frames that the camera gave were looked at.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.wakes: float | None = None
        self.given = self.looked_at = -1
        self.changed = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep_until(self, time: float) -> None:
        """Called by the camera."""
        with self.changed:
            self.wakes = time
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.now >= time or self.looked_at == self.given)
            self.now, self.wakes = max(self.now, time), None
            self.given += 1

    def pass_by(self, seconds: float) -> None:
        """Called by the one who looks; the camera wakes when it is time."""
        with self.changed:
            end = self.now + seconds
            while True:
                self.changed.wait_for(lambda: self.wakes is not None)
                assert self.wakes is not None
                if self.wakes > end:
                    break
                self.now, self.wakes = self.wakes, None
                self.changed.notify_all()
            self.now = end

    def looked(self, index: int) -> None:
        with self.changed:
            self.looked_at = index
            self.changed.notify_all()


@pytest.mark.parametrize(("inference", "minutes"), [(0.01, 1), (0.08, 10), (0.5, 1)])
def test_live_results_are_never_older_than_one_inference_and_one_frame(
    inference: float, minutes: int
) -> None:
    """At 30 frames per second, on a clock that stands while nobody waits."""
    clock, fps, image = Clock(), 30.0, grey(0)

    class Camera(Source):
        def frames(self) -> Generator[Frame, None, None]:
            for index in range(round(60 * minutes * fps)):
                clock.sleep_until((index + 1) / fps)
                yield Frame(image, self, index, index / fps, clock())

    def detect(picture: Any) -> Detections:
        clock.pass_by(inference)
        return Detections.empty()

    ages, last = [], -1
    stream = detect_frames([Camera("camera")], detect, live=True, clock=clock)
    for frame in stream:
        assert frame.index == last + 1 + frame.dropped
        last = frame.index
        ages.append(frame.age)
        clock.looked(last)
        if clock() > 60 * minutes - 2:
            break
    stream.close()
    assert max(ages) <= inference + 1 / fps + 1e-6
    assert min(ages) >= inference - 1e-6
    # As many as there is time for.
    assert len(ages) >= 0.95 * clock() / (inference + 1 / fps)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    pytest.importorskip("onnxruntime")
    with Detector(backend="onnxruntime", threads=1) as opened:
        yield opened


def test_every_frame_of_a_video_has_the_detections_of_its_picture(
    detector: Detector, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    path = write_film(tmp_path / "a.mp4")
    found = list(detector.stream(path))
    assert [number_of(frame.image) for frame in found] == list(range(len(UNEVEN)))
    assert [frame.time for frame in found] == pytest.approx(UNEVEN, abs=0.001)
    assert all(frame.detections == detector(frame.image) for frame in found)
    assert {(frame.dropped, frame.source.path) for frame in found} == {(0, path)}


def test_pictures_in_memory_are_streamed(detector: Detector) -> None:
    images = (grey(i) for i in range(3))
    found = list(detector.stream(images, fps=2))
    assert [(frame.index, frame.time) for frame in found] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    with pytest.raises(ImageError, match="picture 1 "):
        list(detector.stream([grey(0), "no such file.jpg"]))


@pytest.mark.parametrize("thing", [None, 2.5, np.zeros((4, 4, 3), np.uint8), True])
def test_what_is_no_source_is_refused_at_once(thing: Any, detector: Detector) -> None:
    with pytest.raises(UsageError, match="a source is a path"):
        detector.stream(thing)
