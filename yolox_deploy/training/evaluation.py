"""AP of a network on the validation data of a training run, and what it does wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolox_deploy.data.ap import evaluated
from yolox_deploy.models import YOLOX
from yolox_deploy.pictures.convention import InputConvention
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import EVALUATION, Postprocess, Thresholds
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Detections
from yolox_deploy.training.data.pictures import AnnotatedPicture, CocoPictures, Size
from yolox_deploy.training.report.judgement import SCORES, Judgement, judge

BATCH = 16

Pictures = list[AnnotatedPicture]
Batch = tuple[Pictures, NDArray[np.float32], list[float]]


def evaluate_network(
    network: YOLOX,
    data: CocoPictures,
    size: Size,
    convention: InputConvention,
    device: torch.device,
) -> Judgement:
    """Return the judgement on a network in evaluation mode; ``size`` is its input, (height, width).

    AP has the thresholds of :data:`yolox_deploy.postprocess.EVALUATION`; everything else those of
    ``Detector``, but for the score.
    """
    spec = ModelSpec("network", tuple(data.names), *size, input=convention, task=network.task)
    postprocess = Postprocess(spec, EVALUATION)
    usual = Postprocess(spec, Thresholds(float(SCORES[0])))
    found: list[dict[str, Any]] = []
    shown: list[Detections] = []
    for pictures, images, ratios in _batches(data.pictures, size, convention):
        with torch.inference_mode():
            inputs = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            outputs = network(inputs).float().cpu().numpy()
        sizes = [picture.size for picture in pictures]
        shown += usual(outputs, ratios, sizes)
        for picture, result in zip(pictures, postprocess(outputs, ratios, sizes), strict=True):
            # Not `to_coco`, which rounds boxes.
            columns = (result.xywh, result.class_ids, result.scores)
            found += [
                {"image_id": picture.image_id, "bbox": box, "category_id": label, "score": score}
                for box, label, score in zip(*(c.tolist() for c in columns), strict=True)
            ]
    return judge(data, shown, evaluated(data.document(), found))


def _batches(pictures: Pictures, size: Size, convention: InputConvention) -> Iterator[Batch]:
    """Yield pictures with their input (N, 3, H, W) and letterbox ratios.

    A thread reads the next batch in the meantime.
    """
    letterbox = Letterbox(*size, convention)

    def load(start: int) -> Batch:
        chunk = pictures[start : start + BATCH]
        images = np.empty((len(chunk), 3, *size), np.float32)
        pairs = zip(chunk, images, strict=True)
        return chunk, images, [letterbox(picture.read(), out) for picture, out in pairs]

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(load, 0)
        for start in range(0, len(pictures), BATCH):
            ready = ahead.result()
            if start + BATCH < len(pictures):
                ahead = pool.submit(load, start + BATCH)
            yield ready
