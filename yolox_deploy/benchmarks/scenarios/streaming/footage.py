"""Frames to play: a video, or the pictures of a COCO data set in order, with their true boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.measure.systems import ImageArray
from yolox_deploy.data.coco import read_coco
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.pictures.images import read_image
from yolox_deploy.sources.video import VideoFile

# Of a data set of pictures, and of the Streaming Perception Challenge.
DEFAULT_FPS = 30.0
# All frames of a sequence are read into memory before it starts, so that no disk delays them.
MOST_BYTES = 6 << 30


@dataclass(frozen=True)
class Footage:
    """Frames that are played at ``fps`` per second.

    ``sequences`` are image ids in the order in which the frames arrive; ``frames`` reads those of a
    sequence.  ``truth`` is a COCO document of them, ``None`` if nothing is annotated.
    """

    name: str
    fps: float
    sequences: Sequence[Sequence[int]]
    truth: dict[str, Any] | None
    frames: Callable[[Sequence[int]], list[ImageArray]]


def open_pictures(
    data: Path, images: Path, fps: float | None, most: int | None, max_pixels: int
) -> Footage:
    """Return the pictures of a data set, the first ``most`` of each sequence.

    Raises :class:`InputFileError` for files that do not hold them.
    """
    document = read_coco(data)
    paths = document.picture_paths(images)
    sequences = [ids[:most] for ids in document.sequences()]
    truth = document.truth(list(chain(*sequences)))

    def frames(sequence: Sequence[int]) -> list[ImageArray]:
        read = (read_image(paths[number], max_pixels) for number in sequence)
        return within_memory(read, data.name)

    return Footage(data.name, fps or DEFAULT_FPS, sequences, truth, frames)


def open_video(video: Path, data: Path | None, fps: float | None, most: int | None) -> Footage:
    """Return the first ``most`` frames of a video, with annotations if ``data`` has them.

    Raises :class:`UsageError` if the video has no rate, :class:`InputFileError` for files that do
    not hold the frames.
    """
    frames, found = read_video(video, most)
    number, rate = len(frames), fps or found
    if not (math.isfinite(rate) and 0 < rate <= 10_000):
        raise UsageError(f"{video} does not say how many frames per second it has: give --fps")
    sequences: Sequence[Sequence[int]] = [range(1, number + 1)]
    truth = None
    if data is not None:
        document = read_coco(data)
        sequences = document.sequences()
        if len(sequences) != 1 or len(sequences[0]) < number:
            raise InputFileError(
                f"{data} has {sum(map(len, sequences))} images in {len(sequences)} sequences, "
                f"{video} has {number} frames: each frame needs its image"
            )
        sequences = [sequences[0][:number]]
        truth = document.truth(sequences[0])
    return Footage(video.name, rate, sequences, truth, lambda ids: read_video(video, len(ids))[0])


def read_video(path: Path, most: int | None = None) -> tuple[list[ImageArray], float]:
    """Return the first ``most`` frames of a video, (h, w, 3) uint8 BGR, and its frames per second.

    Raises :class:`InputFileError` if there is no video, :class:`UsageError` if its frames do not
    fit into memory.
    """
    source = VideoFile(path)
    with closing(source.frames()) as frames:
        found = within_memory((frame.image for frame in islice(frames, most)), path.name)
    return found, source.fps or 0.0


def within_memory(frames: Iterator[ImageArray], name: str) -> list[ImageArray]:
    """Return all frames as a list; raises :class:`UsageError` for more than memory should hold."""
    found: list[ImageArray] = []
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
