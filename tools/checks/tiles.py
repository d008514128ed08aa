"""Measure what tiles find in large pictures: COCO AP by size, with tiles and without.

``python -m tools.checks.tiles --model yolox_nano.onnx --data COCO_JSON --images DIR`` enlarges each
picture four times and detects in it twice, as a whole and with tiles.  Boxes are made smaller by
the same factor before AP is measured, so that "small" means what COCO means by it: objects of less
than 32 x 32 pixels in the picture before it was enlarged.  Exits with 1 if AP of small objects is
less than 1.5 times as high with tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from yolox_deploy.cli.parser import Parser, add_options
from yolox_deploy.data.ap import CocoDataset, average_precision, figure_text
from yolox_deploy.detector import Detector
from yolox_deploy.mapping.tiles import OVERLAP
from yolox_deploy.pictures.images import read_image
from yolox_deploy.postprocess import EVALUATION
from yolox_deploy.progress import track
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import print_line, print_table

AT_LEAST = 1.5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where tiles find too few small objects more."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    add_options(
        parser,
        """
        --model MODEL: the detector
        --backend NAME: what runs the model
        --data FILE: COCO annotations
        --images FOLDER: folder of their pictures
        --enlarge F: enlarge pictures by this factor
        --tile [PIXELS]: side of the tiles (default: that of the model's input)
        --overlap F: share of a tile that its neighbour shows, too
        --pictures N: only the first N pictures (default: all)
        --threads N: number of CPU threads
        """,
        required=("data", "images"),
        backend="auto",
        enlarge=4.0,
        tile=True,
        overlap=OVERLAP,
    )
    options = parser.parse_args(argv)
    data = CocoDataset(Path(options.data), Path(options.images))
    chosen = dict(islice(data.pictures.items(), options.pictures))
    truth = {
        **data.truth,
        "images": [image for image in data.truth["images"] if image["id"] in chosen],
        "annotations": [a for a in data.truth["annotations"] if a["image_id"] in chosen],
    }
    with Detector(options.model, options.backend, threads=options.threads) as detector:
        ids = data.category_ids(detector.names)
        tiled = partial(detector.tiled, tile=options.tile, overlap=options.overlap)
        ways: dict[str, Callable[..., Detections]] = {"whole": detector, "tiles": tiled}
        entries: dict[str, list[Any]] = {way: [] for way in ways}
        seconds = dict.fromkeys(ways, 0.0)
        for number, path in track(chosen.items(), len(chosen)):
            image = np.asarray(
                cv2.resize(
                    read_image(path),
                    None,
                    fx=options.enlarge,
                    fy=options.enlarge,
                    interpolation=cv2.INTER_CUBIC,
                ),
                np.uint8,
            )
            for way, detect in ways.items():
                start = perf_counter()
                found = detect(image, thresholds=EVALUATION)
                seconds[way] += perf_counter() - start
                small = found.moved(found.xyxy / np.float32(options.enlarge))
                entries[way] += small.to_coco(number, ids)
    figures = {way: average_precision(truth, entries[way]).as_dict() for way in ways}
    names = list(figures["whole"])
    rows = [
        [way, *map(figure_text, figures[way].values()), f"{seconds[way] / len(chosen):.2f}"]
        for way in ways
    ]
    print_table(("detected in", *names, "s per picture"), rows)
    whole, tiles = (figures[way]["ap_small"] or 0.0 for way in ways)
    print_line(f"{len(chosen)} pictures: AP of small objects {whole:.4f} and {tiles:.4f}")
    return 0 if tiles >= AT_LEAST * whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
