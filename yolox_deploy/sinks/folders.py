"""Sinks of one file per source: annotated pictures and videos, YOLO text, MOT challenge text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2

from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import FolderSink
from yolox_deploy.sinks.growing import GrowingText
from yolox_deploy.sinks.video import VideoWriter
from yolox_deploy.sources import Frame, Source
from yolox_deploy.sources.video import require_av
from yolox_deploy.tasks import Detections
from yolox_deploy.tracking import Tails


class PictureSink(FolderSink):
    """Annotated pictures and videos; PNG stays PNG, other pictures become JPEG, videos MP4."""

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        self.writer: VideoWriter | None = None
        self.source: Source | None = None
        self.film: object = None
        self.tails = Tails()

    def check(self) -> None:
        if any(source.moving for source in self.sources):
            require_av()
        super().check()

    def suffix(self, source: Source) -> str:
        if source.moving:
            return ".mp4"
        return ".png" if Path(source.name).suffix.lower() == ".png" else ".jpg"

    def add(self, frame: Frame, found: Detections) -> None:
        image = frame.image
        if found.track_ids is not None:
            if frame.source.film != self.film:
                self.film, self.tails = frame.source.film, Tails()
            image = self.tails.draw(image, found.xyxy, found.track_ids, found.class_ids)
        drawn = found.draw(image)
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


class MotSink(FolderSink):
    """One text file per video, or folder of pictures, as the MOT challenge defines it.

    Per row: frame (from 1), track id, left, top, width, height, score, and three times -1, see
    https://motchallenge.net/instructions/.  What has no id is left out.
    """

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        self.texts: dict[object, GrowingText] = {}
        self.counts: dict[object, int] = {}
        sources = tuple(sources)
        firsts = {source.film: source for source in reversed(sources)}
        super().__init__(path, [s for s in sources if firsts[s.film] is s])
        self.sources = sources

    def stem(self, source: Source) -> str:
        return source.stem if source.moving or source.path is None else source.path.parent.name

    def suffix(self, source: Source) -> str:
        return ".txt"

    def add(self, frame: Frame, found: Detections) -> None:
        if found.track_ids is None:
            raise UsageError("MOT text needs ids: track the detections (yolox-detect --track)")
        film = frame.source.film
        if film not in self.texts:
            self.texts[film] = GrowingText(self.file_for(frame.source))
        self.counts[film] = self.counts.get(film, 0) + 1
        number = frame.index + 1 if frame.source.moving else self.counts[film]
        rows = zip(found.track_ids, found.xywh, found.scores, strict=True)
        text = "".join(
            f"{number},{track},{','.join(f'{v:.2f}' for v in box)},{score:.6f},-1,-1,-1\n"
            for track, box, score in rows
            if track >= 0
        )
        self.texts[film].write(text)

    def finish(self) -> None:
        for text in self.texts.values():
            text.finish()

    def discard(self) -> None:
        for text in self.texts.values():
            text.close()
