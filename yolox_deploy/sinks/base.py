"""What every sink does: open, take one picture's result at a time, write when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError
from yolox_deploy.files import make_folder
from yolox_deploy.tasks import Detections


class Sink(ABC):
    """Takes results; what is written at the end is written only if nothing went wrong.

    ``path`` is the file or folder to write, ``sources`` are all pictures of the run.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        self.path = path
        self.sources = tuple(sources)
        # Now, not after an hour of work.
        make_folder(path.parent)
        if path.is_dir() and not isinstance(self, FolderSink):
            raise UsageError(f"{path} is a folder: name a file to write")

    @abstractmethod
    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        """Take the detections of the picture ``image`` (h, w, 3) uint8 BGR read from ``source``."""

    def finish(self) -> None:  # noqa: B027 (some write as they go)
        """Write what was collected; raises :class:`OutputError`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()


class FolderSink(Sink):
    """One file per picture, named like it; a second picture of the same name gets a number.

    None of the ``sources`` is ever overwritten.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(make_folder(path), sources)
        self.taken: set[str] = set()
        self.protected = {source.resolve() for source in self.sources}

    def file_for(self, source: Path, suffix: str) -> Path:
        """Return the file to write; raises :class:`UsageError` if it were one of the pictures."""
        name, number = f"{source.stem}{suffix}", 1
        while name in self.taken:
            number += 1
            name = f"{source.stem}_{number}{suffix}"
        self.taken.add(name)
        file = self.path / name
        if file.resolve() in self.protected:
            raise UsageError(f"{file} is one of the pictures to look at: choose another folder")
        return file
