"""Measure the tracker on moving digits, whose way is known exactly: HOTA, MOTA and IDF1.

``python -m tools.checks.tracking`` draws several films (``examples/digits/video.py``), detects and
tracks every digit, and compares with the truth.  HOTA (J. Luiten et al., 2020,
https://arxiv.org/abs/2009.07736), MOTA and IDF1 are those of the package ``trackers``, which has
them from TrackEval.  Exits with 1 if the mean HOTA is below 0.9.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.cli.parser import Parser, add_options
from yolox_deploy.detector import Detector
from yolox_deploy.packages import require
from yolox_deploy.sources import DetectedFrame
from yolox_deploy.terminal import print_table
from yolox_deploy.tracking import Tracker

AT_LEAST = 0.9
FPS = 30.0


def film(seed: int, frames: int, digits: int, speed: float) -> Any:
    """Return the frames of a film with their truth."""
    place = str(Path(__file__).parents[2] / "examples" / "digits")
    if place not in sys.path:
        sys.path.insert(0, place)
    video: Any = require("video", "the films are drawn by examples/digits/video.py", "a checkout")
    return list(video.moving_digits(seed, frames, digits=digits, speed=speed))


def measure(
    truth: Sequence[NDArray[np.float32]], found: Sequence[tuple[NDArray[Any], NDArray[Any]]]
) -> dict[str, float]:
    """Return HOTA, MOTA, IDF1 and the number of changed ids of one film.

    ``truth`` are the boxes (N, 4) xyxy of each frame, always of the same N objects in the same
    order; ``found`` boxes (M, 4) and ids (M,) of each frame.
    """
    evaluation: Any = require("trackers.eval", "HOTA needs trackers", "pip install trackers")
    # The identity needs ids that are numbered from 0 without gaps.
    _, dense = np.unique(np.concatenate([ids for _, ids in found]), return_inverse=True)
    starts = np.cumsum([0, *(len(ids) for _, ids in found)])
    ids = [dense[a:b] for a, b in pairwise(starts)]
    true_ids = [np.arange(len(boxes)) for boxes in truth]
    overlaps = [
        evaluation.box_iou(boxes.astype(float), other.astype(float).reshape(-1, 4))
        for boxes, (other, _) in zip(truth, found, strict=True)
    ]
    given = (true_ids, ids, overlaps)
    hota = evaluation.compute_hota_metrics(*given)
    clear = evaluation.compute_clear_metrics(*given)
    return {
        **{name: hota[name] for name in ("HOTA", "DetA", "AssA", "LocA")},
        "MOTA": clear["MOTA"],
        "IDF1": evaluation.compute_identity_metrics(*given)["IDF1"],
        "IDSW": clear["IDSW"],
    }


def tracked(frame: DetectedFrame, tracker: Tracker) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the boxes and ids of what has an id in a frame."""
    found = tracker(frame.detections, frame.time)
    assert found.track_ids is not None
    kept = found.track_ids >= 0
    return found.xyxy[kept], found.track_ids[kept]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where HOTA is too low."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    add_options(
        parser,
        """
        --model MODEL: the detector (default: the model of drawn digits)
        --films N: number of films
        --frames N: number of frames per film
        --digits N: number of digits per film
        --speed F: mean speed in pixels per frame
        --threads N: number of CPU threads
        """,
        films=3,
        frames=150,
        digits=4,
        speed=6.0,
    )
    options = parser.parse_args(argv)
    rows = []
    with Detector(options.model, threads=options.threads) as detector:
        for seed in range(1, options.films + 1):
            frames = film(seed, options.frames, options.digits, options.speed)
            tracker = Tracker(detector.thresholds.score, fps=FPS)
            stream = detector.stream(
                (frame.image for frame in frames),
                fps=FPS,
                thresholds=tracker.thresholds(detector.thresholds, detector.spec),
            )
            found = [tracked(frame, tracker) for frame in stream]
            rows.append(measure([frame.boxes for frame in frames], found))
    names = list(rows[0])
    table = [
        [str(seed), *(f"{row[name]:.4g}" for name in names)] for seed, row in enumerate(rows, 1)
    ]
    mean = {name: fmean(row[name] for row in rows) for name in names}
    print_table(("film", *names), [*table, ["mean", *(f"{mean[name]:.4g}" for name in names)]])
    return 0 if mean["HOTA"] >= AT_LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
