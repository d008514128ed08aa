"""AP of a network on the validation data of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolox_deploy.data.ap import AveragePrecision, average_precision
from yolox_deploy.models import YOLOX
from yolox_deploy.pictures.convention import InputConvention
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import EVALUATION, Postprocess
from yolox_deploy.spec import ModelSpec
from yolox_deploy.training.data.augment import Size
from yolox_deploy.training.data.pictures import AnnotatedPicture, CocoPictures

BATCH = 16


def evaluate_network(
    network: YOLOX,
    data: CocoPictures,
    size: Size,
    convention: InputConvention,
    device: torch.device,
) -> AveragePrecision:
    """Return the AP of a network in evaluation mode; ``size`` is its input, (height, width).

    The thresholds are those of :data:`yolox_deploy.postprocess.EVALUATION`.
    """
    postprocess = Postprocess(
        ModelSpec("network", tuple(data.names), *size, input=convention, task=network.task),
        EVALUATION,
    )
    found = []
    for pictures, images, ratios in _batches(data.pictures, size, convention):
        with torch.inference_mode():
            inputs = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            outputs = network(inputs).float().cpu().numpy()
        sizes = [picture.size for picture in pictures]
        for picture, result in zip(pictures, postprocess(outputs, ratios, sizes), strict=True):
            found += _rows(picture.image_id, result.xyxy, result.class_ids, result.scores)
    return average_precision(_coco_document(data), found)


def _batches(
    pictures: list[AnnotatedPicture], size: Size, convention: InputConvention
) -> Iterator[tuple[list[AnnotatedPicture], NDArray[np.float32], list[float]]]:
    """Yield pictures with their input (N, 3, H, W) and letterbox ratios.

    A thread reads the next batch in the meantime.
    """
    letterbox = Letterbox(*size, convention)

    def load(
        chunk: list[AnnotatedPicture],
    ) -> tuple[list[AnnotatedPicture], NDArray[np.float32], list[float]]:
        images = np.empty((len(chunk), 3, *size), np.float32)
        ratios = [
            letterbox(picture.read(), out) for picture, out in zip(chunk, images, strict=True)
        ]
        return chunk, images, ratios

    chunks = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(load, chunk) for chunk in chunks[:1]]
        for following in [*chunks[1:], None]:
            ready = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(load, following))
            yield ready


def _rows(
    image_id: int,
    xyxy: NDArray[np.float32],
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> list[dict[str, Any]]:
    boxes = np.column_stack((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2])).tolist()
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for box, label, score in zip(boxes, classes.tolist(), scores.tolist(), strict=True)
    ]


def _coco_document(data: CocoPictures) -> dict[str, Any]:
    """Return the annotations of ``data``; class indices are the category ids."""
    return {
        "images": [{"id": picture.image_id} for picture in data.pictures],
        "categories": [{"id": i, "name": name} for i, name in enumerate(data.names)],
        "annotations": data.truth,
    }
