"""Short videos of grey frames: how grey tells which frame it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 96, 64
# Uneven, as of a camera in the dark: seconds.
UNEVEN = (0.0, 0.04, 0.08, 0.3, 0.34, 0.9, 1.0, 1.04)


def grey(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A frame whose left half tells its number; the right half is white."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[:, : width // 2] = 20 + 10 * number
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number of a frame, also after it went through a codec."""
    return round((float(image[: HEIGHT // 2, : WIDTH // 4].mean()) - 20) / 10)


def write_film(
    path: Path,
    times: Sequence[float] = UNEVEN,
    *,
    images: Iterable[NDArray[np.uint8]] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a video whose frames are shown at ``times``."""
    import av

    chosen = [grey(i) for i in range(len(times))] if images is None else list(images)
    time_base = Fraction(1, 12_800)
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = chosen[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = time_base
        for image, time in zip(chosen, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a second of silence."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_film(path: Path) -> Iterator[tuple[int, float]]:
    """Yield the number and the time of each frame, read by PyAV alone."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield number_of(frame.to_ndarray(format="bgr24")), round(float(frame.time), 4)


def rotated(path: Path, target: Path) -> Path:
    """Copy an MP4 file with a track that is to be shown turned by 90 degrees clockwise."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4
    version = data[place]
    # ISO 14496-12, 8.3.2: 16.16 fixed point, the last column 2.30.
    start = place + 4 + (32 if version else 20) + 16
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30]
    for index, value in enumerate(matrix):
        data[start + 4 * index : start + 4 * index + 4] = value.to_bytes(4, "big", signed=True)
    target.write_bytes(data)
    return target
