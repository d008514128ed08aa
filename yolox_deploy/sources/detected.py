"""Frames with what was found in them: reading, detecting and what comes after at the same time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.sources.ahead import ahead
from yolox_deploy.sources.base import Frame, Source
from yolox_deploy.tasks import Detections

# How many frames may wait between two stages: enough for a stage that is uneven.
WAITING = 4

Detect = Callable[[NDArray[np.uint8]], Detections]


@dataclass(frozen=True, eq=False)
class DetectedFrame(Frame):
    """A frame with its ``detections``.

    ``dropped`` is how many frames were left out between the one before and this one.  ``age`` is
    how many seconds ago the frame had arrived when its detections were known.
    """

    detections: Detections = field(default_factory=Detections.empty)
    dropped: int = 0
    age: float = 0.0


def detect_frames(
    sources: Sequence[Source],
    detect: Detect,
    *,
    live: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> Generator[DetectedFrame, None, None]:
    """Yield the frames of all sources with their detections, in order.

    Three threads work at the same time: the first reads, the second detects, the third is the
    caller's.  With ``live``, detection begins with the newest frame when the caller asks for it.
    ``clock`` is that of ``frame.arrived``.
    """

    def frames() -> Generator[Frame, None, None]:
        for source in sources:
            yield from source.frames()

    def close() -> None:
        for source in sources:
            source.close()

    def results() -> Generator[DetectedFrame, None, None]:
        silences = [source.longest_silence for source in sources]
        patience = None if None in silences else sum(filter(None, silences))
        depth = 1 if live else WAITING
        names = ", ".join(source.name for source in sources[:3])
        reading = ahead(frames(), depth, newest=live, patience=patience, name=names, close=close)
        with closing(reading):
            for frame, dropped in reading:
                found = detect(frame.image)
                age = clock() - frame.arrived
                yield DetectedFrame(
                    frame.image,
                    frame.source,
                    frame.index,
                    frame.time,
                    frame.arrived,
                    found,
                    dropped,
                    age,
                )

    if live:
        yield from results()
        return
    with closing(ahead(results(), WAITING, close=close)) as handed:
        for result, _ in handed:
            yield result
