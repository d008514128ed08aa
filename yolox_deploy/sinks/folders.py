"""Sinks of one file per source: annotated pictures and videos, YOLO text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2

from yolox_deploy.errors import OutputError
from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import FolderSink
from yolox_deploy.sinks.video import VideoWriter
from yolox_deploy.sources import Frame, Source
from yolox_deploy.sources.video import require_av
from yolox_deploy.tasks import Detections


class PictureSink(FolderSink):
    """Annotated pictures and videos; PNG stays PNG, other pictures become JPEG, videos MP4."""

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        self.writer: VideoWriter | None = None
        self.source: Source | None = None

    def check(self) -> None:
        if any(source.moving for source in self.sources):
            require_av()
        super().check()

    def suffix(self, source: Source) -> str:
        if source.moving:
            return ".mp4"
        return ".png" if Path(source.name).suffix.lower() == ".png" else ".jpg"

    def add(self, frame: Frame, found: Detections) -> None:
        drawn = found.draw(frame.image)
        if frame.source.moving:
            if self.source is not frame.source or self.writer is None:
                self.finish()
                self.writer = VideoWriter(self.file_for(frame.source), frame.source)
                self.source = frame.source
            self.writer.add(drawn, frame.time)
            return
        file = self.file_for(frame.source)
        good, data = cv2.imencode(file.suffix, drawn)
        if not good:
            raise OutputError(f"cannot write {file}: OpenCV cannot encode it")
        write_atomically(file, data.tobytes())

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.finish()

    def discard(self) -> None:
        if self.writer is not None:
            self.writer.close()


class YoloSink(FolderSink):
    """One text file per picture: class id, relative centre x, y, width, height, score, track id.

    The frames of a video have a folder of their own.
    """

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        self.folders: dict[Source, Path] = {}

    def suffix(self, source: Source) -> str:
        return "" if source.moving else ".txt"

    def add(self, frame: Frame, found: Detections) -> None:
        rows = found.to_yolo()
        if found.track_ids is not None:
            rows = [f"{row} {track}" for row, track in zip(rows, found.track_ids, strict=True)]
        if frame.source.moving:
            if frame.source not in self.folders:
                self.folders[frame.source] = self.file_for(frame.source)
            file = self.folders[frame.source] / f"{frame.index + 1:06d}.txt"
        else:
            file = self.file_for(frame.source)
        write_atomically(file, "".join(f"{row}\n" for row in rows))
