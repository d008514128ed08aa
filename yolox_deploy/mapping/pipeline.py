"""Pictures to results on one runtime."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.letterbox import Canvas, Letterbox
from yolox_deploy.postprocess import Postprocess
from yolox_deploy.runtimes import Runtime
from yolox_deploy.tasks import Detections
from yolox_deploy.timing import StageSeconds


class Pipeline:
    """Pictures to results on one runtime, in memory of its own; for one call at a time.

    ``engine`` is held while the runtime works, so that several pipelines may share one.
    """

    def __init__(self, runtime: Runtime, letterbox: Letterbox, engine: threading.Lock) -> None:
        self.runtime = runtime
        self.letterbox = letterbox
        self.engine = engine
        self._canvases: dict[int, Canvas] = {}

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], postprocess: Postprocess
    ) -> list[Detections]:
        """Return the result of each picture (h, w, 3) uint8 BGR, with the times of all of them."""
        start = perf_counter()
        canvas = self._canvas(len(images))
        ratios = canvas.write(images)
        prepared = perf_counter()
        with self.engine:
            begun = perf_counter()
            output = self.runtime.infer(canvas.tensor)
            inferred = perf_counter()
            # The next call may overwrite the output.
            candidates = postprocess.decode(output, len(images))
            on_device = self.runtime.engine_seconds
        decoded = perf_counter()
        results = [
            postprocess.finish(found, ratio, image.shape[:2])
            for found, ratio, image in zip(candidates, ratios, images, strict=True)
        ]
        seconds = StageSeconds(
            prepared - start,
            inferred - begun,
            decoded - inferred,
            perf_counter() - decoded,
            on_device,
        )
        return [result.timed(seconds) for result in results]

    def _canvas(self, count: int) -> Canvas:
        """Return the canvas for ``count`` pictures, in memory that the engine reads in place."""
        canvas = self._canvases.get(count)
        if canvas is None:
            canvas = Canvas(self.letterbox, self.runtime.new_input(count))
            # One for single pictures, and one for the batches of the last size.
            self._canvases = {n: c for n, c in self._canvases.items() if n == 1}
            self._canvases[count] = canvas
        return canvas
