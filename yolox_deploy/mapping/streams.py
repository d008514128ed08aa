"""Several pipelines of one model, for throughput."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.mapping.pipeline import Pipeline
from yolox_deploy.postprocess import Postprocess
from yolox_deploy.processors import physical_cores
from yolox_deploy.runtimes import Runtime
from yolox_deploy.runtimes.registry import files_of
from yolox_deploy.tasks import Detections

# Pictures that go through an engine of dynamic batch at once: bounds memory on long lists.
LARGEST_CHUNK = 16
# Each stream is the model in memory once more.
MOST_STREAMS = 8
MOST_BYTES = 1 << 30


class Streams:
    """Pipelines that work at the same time; each is opened when it is first needed.

    One stream is the runtime that is there, with two pipelines: a picture is prepared while
    another one is detected.  Several streams are as many runtimes, which divide the threads.
    """

    def __init__(self, first: Pipeline, streams: int | None) -> None:
        self.first = first
        threads = first.runtime.facts().threads or physical_cores() or 1
        self.count = default_streams(first.runtime, threads) if streams is None else streams
        self.threads = max(1, threads // self.count)
        self.workers = max(2, self.count)
        self._free: queue.SimpleQueue[Pipeline] = queue.SimpleQueue()
        self._opening = threading.Lock()
        self._opened = ExitStack()

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], postprocess: Postprocess
    ) -> list[Detections]:
        """Detect on a pipeline that is free; at most ``workers`` calls at a time."""
        try:
            pipeline = self._free.get_nowait()
        except queue.Empty:
            pipeline = self._open()
        try:
            return pipeline(images, postprocess)
        finally:
            self._free.put(pipeline)

    def close(self) -> None:
        """Close what was opened here; no call may be under way."""
        self._opened.close()

    def _open(self) -> Pipeline:
        letterbox = self.first.letterbox
        if self.count == 1:
            return Pipeline(self.first.runtime, letterbox, self.first.engine)
        with self._opening:
            runtime = self._opened.enter_context(self.first.runtime.again(self.threads))
        return Pipeline(runtime, letterbox, threading.Lock())


def default_streams(runtime: Runtime, threads: int) -> int:
    """Return the number of streams that a runtime with that many threads is divided into.

    Several streams of one thread each compute more pictures per second than one of several
    threads, which wait for each other within every layer.  Large models get fewer.
    """
    if not runtime.divisible or runtime.device != "cpu":
        return 1
    size = sum(file.stat().st_size for file in files_of(runtime.path) if file.is_file())
    return max(1, min(threads, MOST_STREAMS, MOST_BYTES // size))
