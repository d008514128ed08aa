"""What every sink does: open, take one frame's result at a time, and end."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.sinks.outputs import check_apart, check_file, check_folder
from yolox_deploy.sources import Frame, Source
from yolox_deploy.tasks import Detections


class Sink(ABC):
    """Takes results, in order.

    ``path`` is the file or folder to write, ``sources`` are all sources of the run.
    ``writes_text`` is whether the sink writes text, which replaces no other file than text.

    A run that is interrupted (Ctrl-C, a full disk, a model that fails) leaves what was done until
    then as a valid file; ``kept`` says so.  What stood at ``path`` stays where nothing was done,
    and after an error that is not one of this package's.
    """

    writes_text: ClassVar[bool] = True

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        self.path = path
        self.sources = tuple(sources)
        self.kept = False
        self.frames = 0

    def check(self) -> None:
        """Refuse, before any work, what cannot be written; nothing is written yet.

        Raises :class:`OutputError`, and :class:`UsageError` if one of ``sources`` would be written.
        """
        check_apart({"the sink": self.files()}, paths_of(self.sources))
        check_file(self.path, text=self.writes_text)

    def files(self) -> Collection[Path]:
        """Return every file, or folder for a video's frames, that is written for ``sources``."""
        return [self.path]

    @property
    def written(self) -> str:
        """What was written when the run has ended, in words; "" for nothing."""
        return str(self.path)

    @abstractmethod
    def add(self, frame: Frame, found: Detections) -> None:
        """Take the detections of a frame: its ``image`` is (h, w, 3) uint8 BGR."""

    def finish(self) -> None:  # noqa: B027 (some write as they go)
        """Write what was collected; raises :class:`OutputError`."""

    def discard(self) -> None:  # noqa: B027
        """Remove what is unfinished."""

    def take(self, frame: Frame, found: Detections) -> None:
        """Call :meth:`add`, and count what was done."""
        self.add(frame, found)
        self.frames += 1

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
            elif self.frames and issubclass(kind, (KeyboardInterrupt, YoloxDeployError)):
                # The error on the way says more than what ending may still raise.
                with suppress(YoloxDeployError):
                    self.finish()
                    self.kept = True
        finally:
            self.discard()


class FolderSink(Sink):
    """One file per source, named like it; a second source of the same name gets a number."""

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        self.path = path
        self.taken: set[str] = set()
        # The first file that was written, and how many were.
        self.first: Path | None = None
        self.number = 0
        self.planned = {source: self._new_file(source) for source in sources}
        super().__init__(path, self.planned)

    def check(self) -> None:
        check_apart({"the sink": self.files()}, paths_of(self.sources))
        check_folder(self.path)

    @property
    def written(self) -> str:
        if self.number > 1:
            return f"{self.path}{os.sep} ({self.number} files)"
        return str(self.first or "")

    @abstractmethod
    def suffix(self, source: Source) -> str:
        """Return the suffix of the file for a source, for example ``.txt``; "" for a folder."""

    def stem(self, source: Source) -> str:
        """Return the name of the file for a source, without its suffix."""
        return source.stem

    def files(self) -> Collection[Path]:
        return self.planned.values()

    def file_for(self, source: Source) -> Path:
        """Return the file, or folder, to write for a source; each call gives another one."""
        file = self.planned.pop(source, None) or self._new_file(source)
        self.first = self.first or file
        self.number += 1
        return file

    def _new_file(self, source: Source) -> Path:
        stem, suffix = self.stem(source), self.suffix(source)
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in self.taken:
            number += 1
            name = f"{stem}_{number}{suffix}"
        self.taken.add(name.casefold())
        return self.path / name


@dataclass(frozen=True)
class SinkKind:
    """One row: the option's name, the class, and what the help says.

    ``metavar`` is ``FILE`` or ``DIR``.  A sink with a ``default`` writes to a folder of this name
    without being asked, or to the first of NAME_2, NAME_3, ... that is free.
    """

    name: str
    sink: type[Sink]
    metavar: str
    help: str
    default: Path | None = None


def paths_of(sources: Iterable[Source]) -> list[Path]:
    """Return the files of those sources that are files."""
    return [source.path for source in sources if source.path is not None]
