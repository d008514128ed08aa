"""Where results go: annotated pictures and videos, JSON, JSON Lines, CSV, YOLO text, COCO.

A sink is a context manager that takes the result of one picture or frame at a time.  Its files get
their names when it ends: whole, or with what was done until the work was interrupted.

A new sink is a subclass of :class:`~yolox_deploy.sinks.base.Sink` in a file beside this one, and
one row in ``SINKS``, from which ``yolox-detect`` makes an option.
"""

from __future__ import annotations

from pathlib import Path

from yolox_deploy.registry import Registry
from yolox_deploy.sinks.base import FolderSink, Sink, SinkKind
from yolox_deploy.sinks.coco import CocoSink
from yolox_deploy.sinks.folders import MotSink, PictureSink, YoloSink
from yolox_deploy.sinks.tables import CsvSink, JsonLinesSink, JsonSink

__all__ = ["SINKS", "FolderSink", "Sink", "SinkKind"]
__all__ += [
    "CocoSink",
    "CsvSink",
    "JsonLinesSink",
    "JsonSink",
    "MotSink",
    "PictureSink",
    "YoloSink",
]


PICTURES_HELP = (
    "folder for annotated pictures and videos (default: detections, or if it is there already "
    "detections_2, detections_3, ...)"
)
JSON_HELP = "write all detections as JSON, to the standard output for -"
LINES_HELP = "write one line of JSON per picture or frame, as results come"
TXT_HELP = "write one YOLO text file per picture or frame"
SINKS: Registry[SinkKind] = Registry(
    "sink",
    "yolox_deploy.sinks",
    [
        SinkKind("output", PictureSink, "DIR", PICTURES_HELP, Path("detections")),
        SinkKind("json", JsonSink, "FILE", JSON_HELP),
        SinkKind("jsonl", JsonLinesSink, "FILE", LINES_HELP),
        SinkKind("csv", CsvSink, "FILE", "write a CSV file with one row per detection"),
        SinkKind("txt", YoloSink, "DIR", TXT_HELP),
        SinkKind("mot", MotSink, "DIR", "write one MOT challenge file per video (with --track)"),
        SinkKind("coco", CocoSink, "FILE", "write a COCO data set, which yolox-train can read"),
    ],
)
