"""Drawn digits with exact boxes: small data sets for real training runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from yolox_deploy.training import CocoSource

Draw = Callable[..., CocoSource]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute with one thread: on a busy machine several wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def draw_digits(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """Give a function that draws a data set: ``draw_digits(count, size, classes, seed)``."""

    def draw(count: int = 48, size: int = 96, classes: int = 3, seed: int = 0) -> CocoSource:
        folder = tmp_path_factory.mktemp("digits")
        (folder / "images").mkdir()
        rng = np.random.default_rng(seed)
        document: dict[str, Any] = {
            "images": [],
            "annotations": [],
            # Ids with gaps and out of order, as real files have them.
            "categories": [{"id": 7 * i + 2, "name": f"digit {i}"} for i in range(classes)],
        }
        for number in range(count):
            image = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
            name = f"{number}.png"
            for column in range(2):
                label = int(rng.integers(classes))
                ink = np.zeros((size, size), np.uint8)
                place = (
                    column * size // 2 + int(rng.integers(1, 8)),
                    int(rng.integers(40, size - 8)),
                )
                cv2.putText(
                    ink, str(label), place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(1.2, 1.6), 255, 3
                )
                image[ink > 0] = rng.integers(160, 255, 3)
                x, y, w, h = cv2.boundingRect(ink)
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]) + 1,
                        "image_id": number,
                        "category_id": 7 * label + 2,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                    }
                )
            cv2.imwrite(str(folder / "images" / name), image)
            document["images"].append(
                {"id": number, "file_name": name, "width": size, "height": size}
            )
        path = folder / "digits.json"
        path.write_text(json.dumps(document))
        return CocoSource(path, folder / "images")

    return draw
