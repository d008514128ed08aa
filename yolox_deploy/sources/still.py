"""Pictures as sources: one file, numbered files that are frames of a film, arrays."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from pathlib import Path

from yolox_deploy.errors import ImageError, UsageError
from yolox_deploy.pictures.images import MAX_PIXELS, ImageLike, as_bgr, read_image
from yolox_deploy.sources.base import Frame, Source

# Of frames that have no time of their own: as in the Streaming Perception Challenge.
DEFAULT_FPS = 30.0
NUMBER = re.compile(r"%(0\d{1,2})?d")


class PictureSource(Source):
    """One picture."""

    moving = False
    count = 1

    def __init__(self, path: Path, max_pixels: int | None = MAX_PIXELS) -> None:
        super().__init__(str(path))
        self.path: Path = path
        self.max_pixels = max_pixels

    def frames(self) -> Generator[Frame, None, None]:
        """Yield the picture."""
        yield Frame(read_image(self.path, self.max_pixels), self)


class ArraySource(Source):
    """Pictures in memory, of any kind that a detector takes, as frames of one film."""

    def __init__(
        self,
        images: Iterable[ImageLike],
        fps: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        super().__init__("pictures")
        self.images = images
        self.fps: float = checked_fps(fps)
        self.max_pixels = max_pixels

    def frames(self) -> Generator[Frame, None, None]:
        """Yield the pictures, ``1 / fps`` seconds apart."""
        for index, image in enumerate(self.images):
            try:
                array = as_bgr(image, self.max_pixels)
            except ImageError as error:
                raise ImageError(f"picture {index} (counted from 0): {error}") from error
            yield Frame(array, self, index, index / (self.fps))


class ImageSequence(Source):
    """Numbered pictures such as ``frames/%06d.png``; a number that is missing is a gap in time."""

    def __init__(
        self, pattern: str, fps: float | None = None, max_pixels: int | None = MAX_PIXELS
    ) -> None:
        super().__init__(pattern)
        self.fps: float = checked_fps(fps)
        self.max_pixels = max_pixels
        place = Path(pattern)
        head, sign, tail = NUMBER.split(place.name, maxsplit=1)
        digits = int(sign or 0)
        name = re.compile(
            f"{re.escape(head)}({'[0-9]' * digits if digits else '[0-9]+'}){re.escape(tail)}"
        )
        folder = place.parent
        inside = folder.iterdir() if folder.is_dir() else ()
        found = ((name.fullmatch(file.name), file) for file in inside)
        self.files = sorted((int(match[1]), file) for match, file in found if match)
        if not self.files:
            raise ImageError(f"{pattern}: no file has such a name with a number")
        self.count = len(self.files)

    @property
    def stem(self) -> str:
        """The name of the pictures without the number, else that of their folder."""
        name = NUMBER.sub("", Path(self.name).stem).strip("_-. ")
        return name or Path(self.name).absolute().parent.name or "frames"

    def frames(self) -> Generator[Frame, None, None]:
        """Yield the pictures in the order of their numbers."""
        first = self.files[0][0]
        for index, (number, file) in enumerate(self.files):
            image = read_image(file, self.max_pixels)
            yield Frame(image, self, index, (number - first) / (self.fps))


def checked_fps(fps: float | None) -> float:
    """Return frames per second, :data:`DEFAULT_FPS` for ``None``; raises :class:`UsageError`."""
    if fps is None:
        return DEFAULT_FPS
    if not 0 < fps <= 10_000:
        raise UsageError(f"fps must lie above 0, up to 10000, got {fps!r}")
    return float(fps)
