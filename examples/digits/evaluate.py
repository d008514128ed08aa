"""Measures the AP of a digit detector on pictures that training never saw.

``python examples/digits/evaluate.py CHECKPOINT`` draws them from the held-out seed, detects with
the package's own :class:`~yolox_deploy.detector.Detector` (score 0.001, IoU 0.65 per class, the
thresholds of the original's COCO evaluation) and lets COCO's own code compare.  It takes whatever
``Detector`` takes, so exported artifacts can be measured the same way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dataset import HELD_OUT, coco_document, draw_many
from rich.console import Console
from rich.progress import track
from rich.table import Table

from yolox_deploy.data.ap import average_precision, figure_text
from yolox_deploy.detector import Detector
from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.postprocess import EVALUATION

# The figures of AveragePrecision, in its order.
METRICS = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")

_console = Console(stderr=True)


def measure(
    model: str | Path,
    seed: int = HELD_OUT.seed,
    count: int = HELD_OUT.count,
    *,
    backend: str | None = None,
    workers: int | None = None,
) -> dict[str, float | None]:
    """Return COCO's AP figures (0..1, by the names in ``METRICS``) on drawn pictures.

    ``model`` is whatever ``Detector`` takes; a checkpoint runs on PyTorch unless ``backend`` says
    otherwise.  Raises :class:`MissingPackageError` without pycocotools.
    """
    backend = backend or ("torch" if Path(model).suffix == ".pth" else "auto")
    drawings = draw_many(seed, count, workers=workers)
    found: list[dict[str, Any]] = []
    kept = (EVALUATION.score, EVALUATION.iou)
    with Detector(model, backend, *kept, max_detections=None) as detector:
        for index, drawing in enumerate(track(drawings, "detecting", console=_console)):
            detections = detector(drawing.image)
            found += detections.to_coco(index + 1)
    figures = average_precision(coco_document(drawings), found)
    return dict(zip(METRICS, figures.as_dict().values(), strict=True))


def table(figures: dict[str, float | None]) -> Table:
    """Return the figures as a table to print."""
    result = Table(*figures)
    result.add_row(*map(figure_text, figures.values()))
    return result


def main() -> int:
    """Measure the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="checkpoint or exported artifact of a digit detector")
    parser.add_argument("--backend", help="engine (default: torch for .pth, else by the file)")
    parser.add_argument("--seed", type=int, default=HELD_OUT.seed, help="default: %(default)s")
    parser.add_argument("--count", type=int, default=HELD_OUT.count, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        figures = measure(
            arguments.model, arguments.seed, arguments.count, backend=arguments.backend
        )
    except YoloxDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
