"""JSON, JSON Lines, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolox_deploy.files import write_document
from yolox_deploy.sinks.base import Sink
from yolox_deploy.sinks.growing import GrowingText
from yolox_deploy.sources import Frame, Source
from yolox_deploy.tasks import Detections


def entry_of(frame: Frame, found: Detections) -> dict[str, Any]:
    """Return what JSON holds of a picture, or of a frame of something that moves."""
    height, width = frame.image.shape[:2]
    place = {"frame": frame.index, "time": round(frame.time, 6)} if frame.source.moving else {}
    size = {"height": height, "width": width}
    return {"image": frame.source.name, **place, **size, "detections": found.to_dict()}


class JsonSink(Sink):
    """One object per picture or frame: its path, size and detections."""

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        self.pictures: list[dict[str, Any]] = []

    def add(self, frame: Frame, found: Detections) -> None:
        self.pictures.append(entry_of(frame, found))

    def finish(self) -> None:
        write_document(self.path, "yolox-detect", {"pictures": self.pictures})


class TextSink(Sink):
    """Text that is written as results come."""

    text: GrowingText | None = None

    def write(self, text: str) -> None:
        """Append to the file, which is opened by the first text."""
        if self.text is None:
            self.text = GrowingText(self.path)
        self.text.write(text)

    def finish(self) -> None:
        self.write("")
        assert self.text is not None
        self.text.finish()

    def discard(self) -> None:
        if self.text is not None:
            self.text.close()


class JsonLinesSink(TextSink):
    """One line per picture or frame, with the object that JSON has of it."""

    def add(self, frame: Frame, found: Detections) -> None:
        self.write(json.dumps(entry_of(frame, found), ensure_ascii=False) + "\n")


class CsvSink(TextSink):
    """One row per detection, with a header that the kind of result gives.

    If one of ``sources`` moves, ``frame`` and ``time`` follow the first column, and are empty for
    pictures.
    """

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        self.moving = any(source.moving for source in self.sources)
        self.header: tuple[str, ...] | None = None

    def add(self, frame: Frame, found: Detections) -> None:
        if self.header is None:
            self._write_header(found)
        place: tuple[object, ...] = ()
        if self.moving:
            place = (frame.index, round(frame.time, 6)) if frame.source.moving else ("", "")
        rows = ((frame.source.name, *place, *row) for row in found.to_rows())
        if found.track_ids is not None:
            rows = ((*row, track) for row, track in zip(rows, found.track_ids, strict=True))
        self.write(_rows(rows))

    def _write_header(self, found: Detections) -> None:
        place = ("frame", "time") if self.moving else ()
        self.header = ("image", *place, *found.header)
        if found.track_ids is not None:
            self.header += ("track_id",)
        self.write(_rows([self.header]))

    def finish(self) -> None:
        if self.header is None:
            self._write_header(Detections.empty())
        super().finish()


def _rows(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
