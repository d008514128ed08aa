"""Losses, positives and gradients against figures of the original implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.training.losses import decode, encode, joined, yolox_losses

DataFile = Callable[[str], Path]

TOLERANCE = 1e-3
NAMES = ("total_loss", "iou_loss", "conf_loss", "cls_loss", "l1_loss", "num_fg")


@pytest.fixture(scope="module")
def reference(data_file: DataFile) -> dict[str, Any]:
    losses: dict[str, Any] = json.loads(
        data_file("reference/yolox_reference_losses.json").read_text()
    )
    return losses


def made_case(
    name: str, reference: dict[str, Any], data_file: DataFile, weights: ModuleType
) -> tuple[YOLOX, Tensor, Tensor]:
    models = json.loads(data_file("reference/yolox_reference_models.json").read_text())
    network = build_network(name)
    made = {
        key: torch.from_numpy(
            np.asarray(weights.reference_tensor(key, tuple(value.shape), models[name]["gain"]))
        )
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(made)
    pixels = np.random.default_rng(weights.INPUT_SEED).uniform(0, 255, (2, 3, 256, 256))
    return network, torch.from_numpy(pixels.astype(np.float32)), flat(reference["targets_values"])


def real_case(
    reference: dict[str, Any], data_file: DataFile, dog: NDArray[np.uint8]
) -> tuple[YOLOX, Tensor, Tensor]:
    network = load_checkpoint(data_file("weights/yolox_nano.pth")).network.requires_grad_(True)
    images = np.empty((1, 3, 416, 416), np.float32)
    Letterbox(416, 416, RAW_INPUT)(dog, images[0])
    return network, torch.from_numpy(images), flat(reference["real"]["targets_values"])


def flat(padded: list[list[list[float]]]) -> Tensor:
    """Turn padded targets, all-zero rows where there is no box, into ours."""
    rows = [[i, *row] for i, image in enumerate(padded) for row in image if any(row)]
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize("with_l1", [False, True])
@pytest.mark.parametrize("name", ["yolox-nano", "yolox-s", "real"])
def test_losses_and_gradients_agree_with_the_original(
    name: str,
    with_l1: bool,
    reference: dict[str, Any],
    data_file: DataFile,
    reference_weights: ModuleType,
    dog: NDArray[np.uint8],
) -> None:
    if name == "real":
        network, images, targets = real_case(reference, data_file, dog)
    else:
        network, images, targets = made_case(name, reference, data_file, reference_weights)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    losses = yolox_losses(network.head.levels(network.backbone(images)), targets, with_l1=with_l1)
    torch.autograd.backward(losses.total)

    expected = reference["losses"][f"{name}.l1={with_l1}"]
    found = dict(zip(NAMES, losses.stacked().tolist(), strict=True))
    for key in expected.keys() - found.keys():
        gradient = network.get_parameter(key.removeprefix("grad_norm.")).grad
        assert gradient is not None
        found[key] = gradient.norm().item()
    assert found == pytest.approx(expected, rel=TOLERANCE)


def some_levels() -> list[tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    return [
        tuple(torch.randn(2, c, side, side, requires_grad=True) for c in (4, 1, 3))  # type: ignore[misc]
        for side in (8, 4, 2)
    ]


def test_a_batch_without_boxes_teaches_only_that_there_is_nothing() -> None:
    levels = some_levels()
    losses = yolox_losses(levels, torch.zeros(0, 6), with_l1=True)
    torch.autograd.backward(losses.total)
    assert losses.total == losses.objectness > 0
    assert all(level[1].grad is not None and level[1].grad.any() for level in levels)
    assert all(level[0].grad is None or not level[0].grad.any() for level in levels)


def test_encode_is_the_inverse_of_decode() -> None:
    raw, _, _, points = joined(some_levels())
    boxes = decode(raw, points)[0]
    again = encode(boxes, points, torch.arange(len(boxes)))
    torch.testing.assert_close(again, raw[0], rtol=1e-4, atol=1e-4)
