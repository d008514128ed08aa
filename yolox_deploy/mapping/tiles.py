"""Large pictures in tiles: small objects are found that vanish where the whole is made small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from time import perf_counter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError
from yolox_deploy.mapping.pipeline import Pipeline
from yolox_deploy.mapping.streams import LARGEST_CHUNK, Streams
from yolox_deploy.mapping.threads import in_chunks, in_threads
from yolox_deploy.postprocess import Postprocess
from yolox_deploy.spec import ModelSpec, as_size
from yolox_deploy.tasks import Detections
from yolox_deploy.tasks.merging import View
from yolox_deploy.timing import summed

# That of SAHI (https://github.com/obss/sahi): an object of a fifth of a tile is whole in some tile.
OVERLAP, MOST_OVERLAP = 0.2, 0.99
# A smaller tile is less than a cell of the coarsest grid; enlarged, it shows nothing new.
SMALLEST = 32
# More tiles of one picture are a mistake: they would take minutes.
MOST_TILES = 10_000

Window = tuple[int, int, int, int]


# One side, height and width, or ``True``: those of the model's input.
TileSize: TypeAlias = int | Sequence[int] | bool


class Tiling:
    """How pictures are divided: tiles that overlap by a share of their sides.

    Raises :class:`UsageError` for values that make no sense.
    """

    def __init__(self, tile: TileSize = True, overlap: float = OVERLAP) -> None:
        self.sides = None if tile is True else as_size(tile, "tile")
        if self.sides is not None and min(self.sides) < SMALLEST:
            raise UsageError(f"tile must be at least {SMALLEST} pixels wide and high, got {tile!r}")
        if not 0 <= overlap <= MOST_OVERLAP:
            raise UsageError(f"overlap must lie in 0..{MOST_OVERLAP}, got {overlap!r}")
        self.overlap = overlap

    def windows(self, height: int, width: int, spec: ModelSpec) -> list[Window]:
        """Return x1, y1, x2, y2 of a whole picture, and of its tiles if there are several.

        Raises :class:`UsageError` for more than :data:`MOST_TILES`.
        """
        sides = self.sides or (spec.height, spec.width)
        rows, columns = (
            _places(length, side, self.overlap)
            for length, side in zip((height, width), sides, strict=True)
        )
        count = len(rows) * len(columns)
        if count > MOST_TILES:
            raise UsageError(
                f"a picture of {width}x{height} pixels would have {count:,} tiles of "
                f"{sides[1]}x{sides[0]} with an overlap of {self.overlap:g}, more than "
                f"{MOST_TILES:,}: choose larger tiles or a smaller overlap"
            )
        whole = (0, 0, width, height)
        tiles = [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]
        return [whole, *tiles] if count > 1 else [whole]


def _places(length: int, side: int, overlap: float) -> list[tuple[int, int]]:
    """Return where tiles begin and end, evenly, with at least that overlap.

    >>> _places(1000, 400, 0.2)
    [(0, 400), (300, 700), (600, 1000)]
    """
    if length <= side:
        return [(0, length)]
    gaps = math.ceil((length - side) / max(1, math.floor(side * (1 - overlap))))
    starts = [round(i * (length - side) / gaps) for i in range(gaps + 1)]
    return [(start, start + side) for start in starts]


class Tiles:
    """Detects in a picture as a whole and in its tiles, with a detector's own pipeline.

    An artifact with a batch takes several of these views per call.  The calls are divided among
    streams, which stay open.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.streams: Streams | None = None

    def __call__(
        self,
        image: NDArray[np.uint8],
        tiling: Tiling,
        postprocess: Postprocess,
        of_view: Postprocess,
    ) -> Detections:
        """Return what is in a picture (h, w, 3) uint8 BGR.

        ``of_view`` is the same post-processing without clipping: what lies within the picture may
        lie beyond a tile.  The times are those of all calls together, of which several run at the
        same time, and of the merging, which counts as NMS.
        """
        height, width = image.shape[:2]
        spec = self.pipeline.runtime.spec
        windows = tiling.windows(height, width, spec)
        if len(windows) == 1:
            (only,) = self.pipeline([image], postprocess)
            return only
        streams = self.streams = self.streams or Streams(self.pipeline, None)
        # Several streams of one tile each are faster than one of many.
        size = spec.batch or (LARGEST_CHUNK if streams.count == 1 else 1)

        def work(chunk: Sequence[tuple[int, Window]]) -> list[Detections]:
            return streams([image[y1:y2, x1:x2] for _, (x1, y1, x2, y2) in chunk], of_view)

        chunks = in_chunks(windows, size)
        with closing(in_threads(work, chunks, streams.workers, ordered=True)) as results:
            found = list(results)
        begun = perf_counter()
        views = [View(*pair) for pair in zip(windows, chain(*found), strict=True)]
        result = postprocess.merge(views, (height, width))
        seconds = summed([parts[0].seconds for parts in found if parts[0].seconds])
        return result.timed(seconds._replace(nms=seconds.nms + perf_counter() - begun))

    def close(self) -> None:
        """Close the streams; no call may be under way."""
        if self.streams is not None:
            self.streams.close()
            self.streams = None
