"""Writes drawn pictures as a COCO-format data set, which is what the trainer reads.

``python examples/digits/dataset.py FOLDER`` writes the sets, each ``FOLDER/NAME.json`` with its
pictures in ``FOLDER/NAME/``.  The held-out set has a seed that training never sees.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from digits import CLASS_NAMES, Drawing, draw
from rich.console import Console
from rich.progress import track

from yolox_deploy.errors import OutputError, UsageError, YoloxDeployError

_console = Console(stderr=True)


@dataclass(frozen=True)
class Split:
    """One set: the seed its pictures are drawn from, and how many there are."""

    name: str
    seed: int
    count: int


TRAIN = Split("train", 20_001, 6000)
VALIDATION = Split("val", 20_002, 200)
HELD_OUT = Split("test", 20_003, 500)
SPLITS = (TRAIN, VALIDATION, HELD_OUT)


def coco_records(
    index: int, drawing: Drawing, first_annotation: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the COCO image record of picture ``index`` and its annotation records.

    Image ids are ``index + 1``, category ids the digit plus one, boxes ``[x, y, w, h]`` in
    pixels.  Annotation ids start at ``first_annotation``, which must not be 0: pycocotools takes
    that id for "no match".
    """
    height, width = drawing.image.shape[:2]
    image = {"id": index + 1, "file_name": f"{index:06d}.jpg", "width": width, "height": height}
    annotations = [
        {
            "id": first_annotation + number,
            "image_id": index + 1,
            "category_id": int(label) + 1,
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "area": float((x1 - x0) * (y1 - y0)),
            "iscrowd": 0,
        }
        for number, ((x0, y0, x1, y1), label) in enumerate(
            zip(drawing.boxes, drawing.labels, strict=True)
        )
    ]
    return image, annotations


def coco_document(drawings: list[Drawing]) -> dict[str, Any]:
    """Return the COCO document that describes ``drawings``."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, drawing in enumerate(drawings):
        image, boxes = coco_records(index, drawing, len(annotations) + 1)
        images.append(image)
        annotations += boxes
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    info = {"description": "Drawn digits with exact boxes"}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def draw_many(seed: int, count: int, *, workers: int | None = None) -> list[Drawing]:
    """Return the first ``count`` pictures of ``seed``, drawn by ``workers`` processes.

    ``None`` takes one process a core, 0 draws in this one; the result is the same.
    """
    with _mapping(os.cpu_count() if workers is None else workers) as mapping:
        drawings = mapping(functools.partial(draw, seed), range(count))
        label = f"drawing {count} pictures of seed {seed}"
        return list(track(drawings, label, count, console=_console))


def write_split(folder: Path, split: Split, *, workers: int | None = None) -> Path:
    """Write one set into ``folder`` and return its COCO file.

    The COCO file is written last and in one step, so where it exists the set is complete.
    Raises :class:`OutputError` where ``folder`` cannot be written.
    """
    pictures = folder / split.name
    target = folder / f"{split.name}.json"
    drawings = draw_many(split.seed, split.count, workers=workers)
    document = coco_document(drawings)
    document["info"]["seed"] = split.seed
    partial = target.with_suffix(".part")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        for record, drawing in zip(document["images"], drawings, strict=True):
            (pictures / record["file_name"]).write_bytes(drawing.jpeg)
        partial.write_text(json.dumps(document), encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
    return target


def ensure_split(folder: Path, split: Split, *, workers: int | None = None) -> Path:
    """Return the COCO file of ``split`` in ``folder``, writing the set where it is not there.

    Raises :class:`UsageError` where ``folder`` holds a set of another seed or size.
    """
    target = folder / f"{split.name}.json"
    if not target.exists():
        return write_split(folder, split, workers=workers)
    document = json.loads(target.read_text(encoding="utf-8"))
    found = document["info"].get("seed"), len(document["images"])
    if found != (split.seed, split.count):
        raise UsageError(
            f"{target} holds {found[1]} pictures of seed {found[0]}, expected {split.count} of "
            f"seed {split.seed}: choose another folder or delete that file"
        )
    return target


@contextmanager
def _mapping(workers: int | None) -> Iterator[Any]:
    """Give a ``map`` that keeps the order, over processes where there are any."""
    if not workers:
        yield map
        return
    with ProcessPoolExecutor(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield functools.partial(pool.map, chunksize=8)


def main() -> int:
    """Write the sets into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the pictures and COCO files go")
    parser.add_argument("--workers", type=int, help="processes that draw (default: one a core)")
    arguments = parser.parse_args()
    try:
        for split in SPLITS:
            print(ensure_split(arguments.folder, split, workers=arguments.workers))
    except YoloxDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
