"""Writing video through PyAV: H.264 in MP4, with the times of the frames that went in."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ModelWarning, OutputError
from yolox_deploy.files import put, workplace
from yolox_deploy.sources import Source
from yolox_deploy.sources.video import require_av

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Which encoders of H.264 a build of FFmpeg may have, the best first.
ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
LAST_RESORT = "mpeg4"
# What times are rounded to where the source has no time base: that of MPEG.
TIME_BASE = Fraction(1, 90_000)
# A player can jump to every such frame, and a full disk costs no more frames than these.
FRAMES_PER_GROUP = 50
# Of a source that does not tell its rate.
FPS = 25.0
OPTIONS = {
    # No B frames: their times would be shifted while the file is in fragments.
    "libx264": {"preset": "veryfast", "crf": "23", "bf": "0"},
    LAST_RESORT: {"qscale": "4"},
}
# Fragments while it is written, so that what was written is a video at any time; a plain file in
# the end (FFmpeg 7.1, "hybrid_fragmented").
MUXER = {"movflags": "hybrid_fragmented"}
# What decoders are told, or they would guess the colours from the size: ITU-R BT.709, 16..235.
BT709, LIMITED = 1, 1


@cache
def encoder() -> str:
    """Return the encoder to use; a note says if it is not one of H.264."""
    av = require_av()
    name = next((name for name in ENCODERS if name in av.codecs_available), LAST_RESORT)
    if name == LAST_RESORT:
        warnings.warn(
            "the package av has no encoder of H.264 here: videos are written as MPEG-4 part 2, "
            "which browsers do not play",
            ModelWarning,
            stacklevel=2,
        )
    return name


class _File(io.FileIO):
    """A file that stays as it is after an error, whatever FFmpeg still does to end it."""

    broken = False

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest and not self.broken:
                rest = rest[super().write(rest) :]
        except OSError:
            self.broken = True
            raise
        return len(data)

    def keep_fragments(self) -> bool:
        """Cut off what follows the last whole fragment; returns whether there is one.

        A file is boxes, each of which begins with its length and name (ISO 14496-12, 4.2).
        """
        end, place, whole = os.fstat(self.fileno()).st_size, 0, 0
        with open(self.name, "rb") as file:
            while place + 8 <= end:
                file.seek(place)
                head = file.read(16)
                size = int.from_bytes(head[:4], "big")
                size = int.from_bytes(head[8:], "big") if size == 1 else size
                if size < 8 or place + size > end:
                    break
                place += size
                whole = place if head[4:8] == b"mdat" else whole
        self.truncate(whole)
        return whole > 0


class VideoWriter:
    """Writes frames to ``path``: beside it until :meth:`finish`, which renames.

    Frames keep their times, in multiples of the source's time base; the last one is shown for one
    frame's duration.  The first frame decides the size; an odd side gets one more row or column.
    After an error, :meth:`finish` keeps what can be played.

    Raises :class:`OutputError`.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.av = require_av()
        self.path = path
        self.fps = source.fps or FPS
        self.time_base = source.time_base or TIME_BASE
        self.failed = False
        self.waiting: tuple[VideoFrame, int] | None = None
        self.durations: dict[int, int] = {}
        self.reformatter = self.av.video.reformatter.VideoReformatter()
        self._stack = ExitStack()
        target = Path(os.path.realpath(path))
        self.draft = self._stack.enter_context(workplace(target.parent)) / target.name
        self.file = self._stack.enter_context(_File(self.draft, "w"))
        self.container: OutputContainer | None = None
        self.stream: VideoStream
        self.size = (0, 0)

    def add(self, image: NDArray[np.uint8], time: float) -> None:
        """Append a picture (h, w, 3) uint8 BGR that is shown ``time`` seconds after the first."""
        with self._reported():
            if self.container is None:
                self._open(image)
            frame = self.av.VideoFrame.from_ndarray(self._fitted(image), format="bgr24")
            frame = self.reformatter.reformat(
                frame, format=self.stream.pix_fmt, dst_colorspace=BT709, dst_color_range=LIMITED
            )
            ticks = round(time / self.time_base)
            if self.waiting is not None:
                ticks = max(ticks, self.waiting[1] + 1)
                self._encode(ticks - self.waiting[1])
            self.waiting = (frame, ticks)

    def finish(self) -> None:
        """End the file and give it its name."""
        if self.container is None:
            return
        if not self.failed:
            with self._reported():
                self._encode(max(1, round(1 / self.fps / self.time_base)))
                self._write(self.stream.encode(None))
                self.container.close()
        else:
            with suppress(self.av.FFmpegError, OSError):
                self.container.close()
            if not self.file.keep_fragments():
                return
        self.container = None
        put(self.draft, self.path)

    def close(self) -> None:
        """Remove what was not finished; calling it twice is fine."""
        if self.container is not None:
            with suppress(self.av.FFmpegError, OSError):
                self.container.close()
            self.container = None
        self._stack.close()

    def _open(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        self.size = (width + width % 2, height + height % 2)
        name = encoder()
        self.container = self.av.open(self.file, "w", format="mp4", options=MUXER)
        rate = Fraction(self.fps).limit_denominator(1001)
        stream: Any = self.container.add_stream(name, rate=rate, options=OPTIONS.get(name, {}))
        stream.width, stream.height = self.size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size = FRAMES_PER_GROUP
        context.time_base = self.time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        self.stream = stream

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture in the size of the video."""
        width, height = self.size
        more_rows, more_columns = height - image.shape[0], width - image.shape[1]
        if (more_rows, more_columns) == (0, 0):
            return image
        if more_rows in (0, 1) and more_columns in (0, 1):
            edges = (0, more_rows, 0, more_columns)
            return np.asarray(cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE), np.uint8)
        return np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)

    def _encode(self, duration: int) -> None:
        """Encode the waiting frame, now that its duration is known."""
        if self.waiting is None:
            return
        frame, ticks = self.waiting
        self.waiting = None
        frame.pts, frame.time_base = ticks, self.time_base
        self.durations[ticks] = duration
        self._write(self.stream.encode(frame))

    def _write(self, packets: list[Packet[VideoStream]]) -> None:
        assert self.container is not None
        for packet in packets:
            if packet.pts is not None and packet.time_base == self.time_base:
                packet.duration = self.durations.pop(packet.pts, 0)
            self.container.mux(packet)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (self.av.FFmpegError, OSError, ValueError) as error:
            self.failed = True
            words = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"cannot write {self.path}: {words}") from error
