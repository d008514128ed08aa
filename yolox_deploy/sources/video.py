"""Reading video through PyAV: upright frames with their times, of a file or of anything like it."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ModelWarning, SourceError
from yolox_deploy.packages import install_line, require
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.sources.base import Frame, Source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
) | frozenset((".wmv", ".flv", ".3gp", ".ogv", ".gif", ".mjpeg", ".h264", ".h265", ".hevc", ".vob"))
# Named, so that the error says that there is no video in such a file.
SOUND_SUFFIXES = frozenset((".mp3", ".wav", ".flac", ".ogg", ".m4a", ".aac", ".opus", ".wma"))
# What FFmpeg says of the end, and of moments without a frame.
PAUSES = ("EOFError", "BlockingIOError")


def require_av() -> Any:
    """Return the package ``av``; raises :class:`MissingPackageError` with the line for pip."""
    return require(
        "av",
        "video, cameras and streams need the package av",
        install_line("video"),
    )


class Stream:
    """An opened video: iterating gives every frame as (h, w, 3) uint8 BGR with its time.

    ``place`` is what FFmpeg opens, ``name`` what errors call it; ``timeout`` is the longest wait in
    seconds for the first data and for more data.  A frame without a time of its own, or with one
    that is not later than the last, is shown one frame's duration after the last.

    Raises :class:`SourceError` where there is no video, and for more than ``max_pixels``.
    """

    def __init__(
        self,
        place: str,
        name: str,
        max_pixels: int | None = MAX_PIXELS,
        *,
        format: str | None = None,
        options: Mapping[str, str] = {},
        timeout: float | None = None,
        low_delay: bool = False,
    ) -> None:
        self.av = require_av()
        self.name = name
        self.max_pixels = max_pixels
        self.damaged = 0
        try:
            self.container: InputContainer = self.av.open(
                place, format=format, options=dict(options), timeout=timeout
            )
        except (self.av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name}: {_why_not(error)}") from error
        try:
            self.stream = self._video()
        except BaseException:
            self.container.close()
            raise
        # Threads that decode several frames at a time give each of them later.
        self.stream.thread_type = "SLICE" if low_delay else "AUTO"
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.time_base = self.stream.time_base
        self.reformatter = self.av.video.reformatter.VideoReformatter()

    def _video(self) -> VideoStream:
        """Return the first stream of moving pictures."""
        videos = [
            stream
            for stream in self.container.streams.video
            # The cover of a piece of music.
            if not stream.disposition & self.av.stream.Disposition.attached_pic
        ]
        if not videos:
            kinds = sorted({stream.type for stream in self.container.streams})
            found = f"only {', '.join(kinds)}" if kinds else "nothing"
            raise SourceError(f"{self.name}: there is no video in it ({found})")
        context = videos[0].codec_context
        self._check_size(context.width, context.height)
        if self.max_pixels is not None:
            context.options = {"max_pixels": str(self.max_pixels)}
        return videos[0]

    def _check_size(self, width: int, height: int) -> None:
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise SourceError(
                f"{self.name}: frames of {width * height:,} pixels, more than the "
                f"{self.max_pixels:,} that are allowed: raise the limit (max_pixels; yolox-detect "
                "--max-pixels)"
            )

    @property
    def count(self) -> int | None:
        """How many frames there are, as far as the file tells."""
        if self.stream.frames:
            return int(self.stream.frames)
        duration = self.container.duration
        return round(duration / 1e6 * self.fps) if duration and self.fps else None

    @property
    def is_recording(self) -> bool:
        """Whether it has an end: its duration is known."""
        return bool(self.container.duration)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        step = 1 / (self.fps or 25.0)
        first: float | None = None
        last = 0.0
        for frame in self._frames():
            time = frame.time
            if first is None:
                first = time or 0.0
                time = first
            elif time is None or time - first <= last:
                time = first + last + step
            last = time - first
            yield self._as_bgr(frame), last

    def _frames(self) -> Iterator[VideoFrame]:
        """Yield what can be decoded; damaged packets are counted and left out."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
                yield from packet.decode()
            except StopIteration:
                return
            except self.av.error.InvalidDataError:
                self.damaged += 1
            except (self.av.FFmpegError, OSError) as error:
                # What the decoder still holds was received whole.
                with suppress(self.av.FFmpegError):
                    yield from self.stream.decode(None)
                if type(error).__name__ in PAUSES:
                    return
                raise SourceError(f"{self.name}: {_why_not(error)}") from error

    def _as_bgr(self, frame: VideoFrame) -> NDArray[np.uint8]:
        self._check_size(frame.width, frame.height)
        image = self.reformatter.reformat(frame, format="bgr24").to_ndarray()
        # Counter-clockwise, as the display matrix says; only quarter turns keep pixels.
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def close(self) -> None:
        """Close the file or the connection."""
        self.container.close()


class VideoFile(Source):
    """The frames of a video file."""

    def __init__(self, path: Path, max_pixels: int | None = MAX_PIXELS) -> None:
        super().__init__(str(path))
        require_av()
        self.path: Path = path
        self.max_pixels = max_pixels

    def frames(self) -> Generator[Frame, None, None]:
        """Yield every frame that can be decoded; a note tells of those that cannot."""
        if not self.path.is_file():
            raise SourceError(f"{self.path}: no such file")
        if not self.path.stat().st_size:
            raise SourceError(f"{self.path}: the file is empty")
        index = 0
        # An absolute path is never taken for an address.
        with closing(Stream(str(self.path.absolute()), self.name, self.max_pixels)) as video:
            self.count, self.fps, self.time_base = video.count, video.fps, video.time_base
            for index, (image, time) in enumerate(video, 1):
                yield Frame(image, self, index - 1, time)
            claimed = int(video.stream.frames)
        if not index:
            raise SourceError(
                f"{self.path}: no frame of the video in it can be decoded: it is damaged or cut off"
            )
        if video.damaged or index < claimed:
            of = f" of {claimed}" if claimed > index else ""
            warnings.warn(
                f"{self.path} is damaged or cut off: {index}{of} frames could be read",
                ModelWarning,
                stacklevel=2,
            )


def _why_not(error: Exception) -> str:
    """Return in a few words why FFmpeg cannot open or read something."""
    words = getattr(error, "strerror", None) or str(error)
    kind = type(error).__name__
    if kind == "InvalidDataError":
        return "no video that FFmpeg can read, or it is damaged or cut off"
    if kind == "ExitError":
        return "no answer in time"
    return f"cannot be read ({words})"
