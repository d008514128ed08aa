"""Frames of a stream: a video, or the pictures of a COCO data set in order, with their truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.coco import read_coco
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.pictures.images import read_image

Picture = NDArray[np.uint8]
# Of a data set of pictures, and of the Streaming Perception Challenge.
DEFAULT_FPS = 30.0
# All frames of a sequence are in memory before it starts, so that no disk delays them.
MOST_BYTES = 6 << 30


@dataclass(frozen=True)
class Source:
    """Where frames come from, ``fps`` of them a second.

    ``sequences`` are image ids in the order in which the frames arrive; ``truth`` is a COCO
    document of them, ``None`` where nothing is annotated.  ``paths`` are the files of pictures by
    image id, ``None`` for a ``video``.
    """

    name: str
    fps: float
    sequences: Sequence[Sequence[int]]
    truth: dict[str, Any] | None
    paths: Mapping[int, Path] | None
    video: Path | None

    def frames(self, sequence: Sequence[int]) -> list[Picture]:
        """Return the frames of a sequence; raises :class:`InputFileError`."""
        if self.video is not None:
            return read_video(self.video, len(sequence))[0]
        assert self.paths is not None
        return within_memory((read_image(self.paths[number]) for number in sequence), self.name)


def open_source(
    video: Path | None, data: Path | None, images: Path | None, fps: float | None, most: int | None
) -> Source:
    """Return the frames that the arguments name, the first ``most`` of each sequence.

    Raises :class:`UsageError` for a combination that names no frames, :class:`InputFileError` for
    files that do not hold them.
    """
    if video is not None:
        if images is not None:
            raise UsageError("--video holds the frames: leave --images out")
        return _video_source(video, data, fps, most)
    if data is None or images is None:
        raise UsageError(
            "streaming needs frames: --video FILE, or --data COCO_JSON --images DIR with pictures "
            "in order"
        )
    document = read_coco(data)
    paths = document.picture_paths(images)
    sequences = [ids[:most] for ids in document.sequences()]
    truth = document.truth(list(chain(*sequences)))
    return Source(data.name, fps or DEFAULT_FPS, sequences, truth, paths, None)


def _video_source(video: Path, data: Path | None, fps: float | None, most: int | None) -> Source:
    frames, found = read_video(video, most)
    rate = fps or found
    if not (math.isfinite(rate) and 0 < rate <= 10_000):
        raise UsageError(f"{video} does not say how many frames a second it has: give --fps")
    if data is None:
        return Source(video.name, rate, [range(1, len(frames) + 1)], None, None, video)
    document = read_coco(data)
    sequences = document.sequences()
    if len(sequences) != 1 or len(sequences[0]) < len(frames):
        raise InputFileError(
            f"{data} has {sum(map(len, sequences))} images in {len(sequences)} sequences, {video} "
            f"{len(frames)} frames: each frame needs its image"
        )
    sequences = [sequences[0][: len(frames)]]
    truth = document.truth(sequences[0])
    return Source(video.name, rate, sequences, truth, None, video)


def read_video(path: Path, most: int | None = None) -> tuple[list[Picture], float]:
    """Return the first ``most`` frames of a video, (h, w, 3) uint8 BGR, and its frames a second.

    Raises :class:`InputFileError` where there is no video, :class:`UsageError` where its frames do
    not fit into memory.
    """
    if not path.is_file():
        raise InputFileError(f"{path}: no such file")
    capture = cv2.VideoCapture(str(path))
    try:
        fps = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0

        def frames() -> Iterator[Picture]:
            count = 0
            while most is None or count < most:
                good, frame = capture.read()
                if not good:
                    return
                yield np.asarray(frame, np.uint8)
                count += 1

        found = within_memory(frames(), path.name)
    finally:
        capture.release()
    if not found:
        raise InputFileError(f"{path}: no video that OpenCV can read")
    return found, fps


def within_memory(frames: Iterator[Picture], name: str) -> list[Picture]:
    """Return all frames as a list; raises :class:`UsageError` for more than memory should hold."""
    found: list[Picture] = []
    size = 0
    for frame in frames:
        found.append(frame)
        size += frame.nbytes
        if size > MOST_BYTES:
            raise UsageError(
                f"the frames of {name} need more than {MOST_BYTES >> 30} GB of memory: take the "
                f"first ones with --frames {len(found) // 2}"
            )
    return found
