"""Where pictures come from: files, folders, videos, cameras, streams over the network, arrays.

A source gives :class:`Frame` objects in order.  What a word of the command line, or the argument of
``Detector.stream``, means as a source is decided in one place (``find.py``).
"""

from yolox_deploy.sources.base import Frame, Source
from yolox_deploy.sources.detected import DetectedFrame, detect_frames
from yolox_deploy.sources.find import as_sources, find_sources

__all__ = ["DetectedFrame", "Frame", "Source", "as_sources", "detect_frames", "find_sources"]
