"""The contract of a source: a name, what is known before it is opened, and frames in order."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source: ``image`` (h, w, 3) uint8 BGR, upright.

    ``index`` counts the frames of the source from 0.  ``time`` is when the frame is shown, in
    seconds after the first one; it is 0 for a picture.  ``arrived`` is when it was read, by
    :func:`time.perf_counter`.
    """

    image: NDArray[np.uint8]
    source: Source
    index: int = 0
    time: float = 0.0
    arrived: float = field(default_factory=perf_counter)


class Source(ABC):
    """Gives frames.

    ``name`` is what results call it, ``path`` its file if it has one.  A ``moving`` source has
    frames that belong together, in time.  A ``live`` one gives frames when they happen, whether
    somebody waits for them or not.  ``count``, ``fps`` (frames per second) and ``time_base`` (the
    seconds that time stamps are multiples of) are known after the first frame, or not at all.
    ``longest_silence`` bounds the seconds until the next frame, however long a device is silent.
    """

    moving: ClassVar[bool] = True
    live: bool = False
    path: Path | None = None
    count: int | None = None
    fps: float | None = None
    time_base: Fraction | None = None
    longest_silence: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def frames(self) -> Generator[Frame, None, None]:
        """Open the source and yield its frames; it is closed when the iterator ends or is closed.

        Raises :class:`~yolox_deploy.errors.InputFileError` for what cannot be read.
        """

    def close(self) -> None:  # noqa: B027 (few sources wait)
        """End a wait for frames that may never come; another thread may call it."""

    @property
    def stem(self) -> str:
        """What files that belong to this source are named after."""
        if self.path is not None:
            return self.path.stem
        return re.sub(r"\W+", "_", self.name).strip("_") or "stream"

    @property
    def film(self) -> object:
        """What this source's frames belong to: itself if it moves, else the picture's folder."""
        return self if self.moving or self.path is None else self.path.parent

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
