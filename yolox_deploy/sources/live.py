"""Cameras and streams over the network: connected again where they break off, never waited for.

Times are those at which frames arrive: after a new connection a stream's own clock begins anew.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from glob import glob
from time import perf_counter
from urllib.parse import urlsplit

from yolox_deploy.errors import ModelWarning, SourceError, UsageError
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.sources.base import Frame, Source
from yolox_deploy.sources.video import Stream, require_av

# What an address may begin with; other protocols of FFmpeg read local files, or run others' lists.
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "srt", "tcp")
# Seconds before the first, second, ... new connection; the last one for all that follow.
BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Patience:
    """How long a live source is waited for, in seconds.

    ``timeout`` is the longest wait for a connection, and for the next frame.  A stream that breaks
    off is connected to again for as long as ``reconnect``; then it is taken as ended.

    Raises :class:`UsageError` for values that make no sense.
    """

    timeout: float = 10.0
    reconnect: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= 3600:
            raise UsageError(f"timeout must lie above 0, up to 3600 s, got {self.timeout}")
        if not 0 <= self.reconnect <= 1e6:
            raise UsageError(f"reconnect must be 0 s or more, got {self.reconnect}")


class LiveSource(Source):
    """What FFmpeg opens as a device or an address.

    An address whose duration is known is a recording: it ends when it ends, and its own times hold.
    """

    live = True

    def __init__(
        self,
        name: str,
        place: str,
        patience: Patience = Patience(),
        max_pixels: int | None = MAX_PIXELS,
        *,
        format: str | None = None,
        options: Mapping[str, str] = {},
    ) -> None:
        super().__init__(name)
        require_av()
        self.place, self.format, self.options = place, format, options
        self.patience = patience
        # FFmpeg itself keeps to the time-outs of a network, and to none of a device.
        self.longest_silence = 2 * patience.timeout + patience.reconnect
        self.max_pixels = max_pixels
        self._ended = threading.Event()

    def close(self) -> None:
        """End the wait between two connections."""
        self._ended.set()

    def frames(self) -> Generator[Frame, None, None]:
        """Yield frames until the stream has ended for good.

        Raises :class:`SourceError` where nothing can be opened in the first place.
        """
        index, first, attempt, reason = 0, 0.0, 0, ""
        broken: float | None = None
        while not self._ended.is_set():
            reason = "it ended"
            try:
                with closing(self._connected()) as video:
                    self.fps, recording = video.fps, video.is_recording
                    if recording:
                        self.count, self.time_base = video.count, video.time_base
                    for image, time in video:
                        now = perf_counter()
                        first = first if index else now
                        yield Frame(image, self, index, time if recording else now - first, now)
                        index, attempt, broken = index + 1, 0, None
                if recording:
                    return
            except SourceError as error:
                if not index:
                    raise
                reason = str(error)
            now = perf_counter()
            broken = now if broken is None else broken
            wait = BACK_OFF[min(attempt, len(BACK_OFF) - 1)]
            attempt += 1
            if not index or now - broken + wait > self.patience.reconnect:
                break
            _tell(f"{self.name} broke off ({reason}): connecting again in {wait:g} s")
            self._ended.wait(wait)
        if not index:
            raise SourceError(f"{self.name}: the connection gave no frame")
        if not self._ended.is_set():
            _tell(f"{self.name} is taken as ended after {index} frames ({reason})")

    def _connected(self) -> Stream:
        if self.format == "v4l2" and not os.path.exists(self.place):
            there = ", ".join(sorted(glob("/dev/video*"))) or "no camera"
            raise SourceError(f"{self.name}: there is no {self.place}; there is {there}")
        return Stream(
            self.place,
            self.name,
            self.max_pixels,
            format=self.format,
            options=self.options,
            timeout=self.patience.timeout,
            low_delay=True,
        )


def camera(number: int, patience: Patience, max_pixels: int | None = MAX_PIXELS) -> LiveSource:
    """Return the camera of a number, 0 for the first; raises :class:`UsageError` on Windows."""
    name = f"camera {number}"
    if sys.platform == "darwin":
        place, format = str(number), "avfoundation"
    elif sys.platform == "win32":
        devices = require_av().enumerate_input_devices("dshow")
        names = [device.description for device in devices if "video" in device.media_types]
        if number >= len(names):
            raise SourceError(f"{name}: there are {len(names)} cameras on this machine")
        place, format = f"video={names[number]}", "dshow"
    else:
        place, format = f"/dev/video{number}", "v4l2"
    return LiveSource(name, place, patience, max_pixels, format=format)


def address(text: str, patience: Patience, max_pixels: int | None = MAX_PIXELS) -> LiveSource:
    """Return the stream at an address; raises :class:`UsageError` for other protocols."""
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise UsageError(
            f"{without_password(text)}: expected an address that begins with "
            f"{', '.join(SCHEMES)} and ://, or the path of a file"
        )
    # Over TCP no packet is lost, and routers let it through.
    options = {"rtsp_transport": "tcp"} if parts.scheme.startswith("rtsp") else {}
    return LiveSource(without_password(text), text, patience, max_pixels, options=options)


def without_password(text: str) -> str:
    """Return an address without user and password, which belong into no file of results.

    >>> without_password("rtsp://me:secret@camera/1")
    'rtsp://camera/1'
    """
    return re.sub(r"(?<=://)[^/?#]*@", "", text)


def _tell(text: str) -> None:
    warnings.warn(text, ModelWarning, stacklevel=3)
