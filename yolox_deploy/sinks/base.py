"""What every sink does: open, take one picture's result at a time, write when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.sinks.outputs import check_apart, check_file, check_folder
from yolox_deploy.tasks import Detections


class Sink(ABC):
    """Takes results; what is written at the end is written only if nothing went wrong.

    ``path`` is the file or folder to write, ``sources`` are all pictures of the run.
    ``writes_text`` is whether the sink writes text, which replaces no other file than text.
    """

    writes_text: ClassVar[bool] = True

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        self.path = path
        self.sources = tuple(sources)

    def check(self) -> None:
        """Refuse, before any work, what cannot be written; nothing is written yet.

        Raises :class:`OutputError`, and :class:`UsageError` if one of ``sources`` would be written.
        """
        check_apart({"the sink": self.files()}, self.sources)
        check_file(self.path, text=self.writes_text)

    def files(self) -> Collection[Path]:
        """Return every file that will be written for ``sources``."""
        return [self.path]

    @abstractmethod
    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        """Take the detections of the picture ``image`` (h, w, 3) uint8 BGR read from ``source``."""

    def finish(self) -> None:  # noqa: B027 (some write as they go)
        """Write what was collected; raises :class:`OutputError`."""

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()


class FolderSink(Sink):
    """One file per picture, named like it; a second picture of the same name gets a number."""

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        self.path = path
        self.taken: set[str] = set()
        self.planned = {source: self._new_file(source) for source in sources}
        super().__init__(path, self.planned)

    def check(self) -> None:
        check_apart({"the sink": self.files()}, self.sources)
        check_folder(self.path)

    @abstractmethod
    def suffix(self, source: Path) -> str:
        """Return the suffix of the file to write for a picture, for example ``.txt``."""

    def files(self) -> Collection[Path]:
        return self.planned.values()

    def file_for(self, source: Path) -> Path:
        """Return the file to write for a picture; each call gives another one."""
        return self.planned.pop(source, None) or self._new_file(source)

    def _new_file(self, source: Path) -> Path:
        suffix = self.suffix(source)
        name, number = f"{source.stem}{suffix}", 1
        while name.casefold() in self.taken:
            number += 1
            name = f"{source.stem}_{number}{suffix}"
        self.taken.add(name.casefold())
        return self.path / name
