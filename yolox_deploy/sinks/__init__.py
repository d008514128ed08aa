"""Where results of many pictures go: annotated pictures, JSON, CSV, YOLO text, COCO.

A sink is a context manager that takes one picture's result at a time and writes when it ends, so
that an error or Ctrl-C leaves earlier results as they were.

A new sink is a subclass of :class:`~yolox_deploy.sinks.base.Sink`, and one row in
``SINKS``, from which ``yolox-detect`` makes an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolox_deploy.registry import Registry
from yolox_deploy.sinks.base import FolderSink, Sink
from yolox_deploy.sinks.coco import CocoSink
from yolox_deploy.sinks.folders import PictureSink, YoloSink
from yolox_deploy.sinks.tables import CsvSink, JsonSink

__all__ = ["SINKS", "FolderSink", "Sink", "SinkKind"]
__all__ += ["CocoSink", "CsvSink", "JsonSink", "PictureSink", "YoloSink"]


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


PICTURES_HELP = (
    "folder for annotated pictures (default: detections, or if it is there already detections_2, "
    "detections_3, ...)"
)
JSON_HELP = "write all detections as JSON, to the standard output for -"
SINKS: Registry[SinkKind] = Registry(
    "sink",
    "yolox_deploy.sinks",
    [
        SinkKind("output", PictureSink, "DIR", PICTURES_HELP, Path("detections")),
        SinkKind("json", JsonSink, "FILE", JSON_HELP),
        SinkKind("csv", CsvSink, "FILE", "write a CSV file with one row per detection"),
        SinkKind("txt", YoloSink, "DIR", "write one YOLO text file per picture"),
        SinkKind("coco", CocoSink, "FILE", "write a COCO data set, which yolox-train can read"),
    ],
)
