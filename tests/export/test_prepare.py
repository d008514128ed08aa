"""The rewrites before export: none of them may change what the network computes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from yolox_deploy.export.prepare import focus_to_convolution, prepare, stem_exponent
from yolox_deploy.models.blocks import Focus
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.pictures.letterbox import Letterbox

NOT_SQUARE = (64, 96)


def pixels(*size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, *size, generator=generator) * 255


def stem_of(network: Any) -> Any:
    stem = network.backbone.backbone.stem
    return stem[0] if isinstance(stem, nn.Sequential) else stem


@pytest.mark.parametrize("name", ["nano", "s"])
def test_the_prepared_network_computes_the_same_in_double_precision(
    name: str, network_of: Any
) -> None:
    network = copy.deepcopy(network_of(name)).double()
    images = pixels(*NOT_SQUARE).double()
    with torch.no_grad():
        expected = network(images)
        found = prepare(network, RAW_INPUT)(images)
    assert (found - expected).abs().max() < 1e-9
    assert expected.std() > 1e-3


@pytest.mark.parametrize("name", ["nano", "s", "darknet53"])
def test_reference_weights_lose_nothing_in_single_precision(name: str, network_of: Any) -> None:
    network = network_of(name)
    images = pixels(*NOT_SQUARE)
    with torch.no_grad():
        difference = prepare(network, RAW_INPUT)(images) - network(images)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("weights", "convention"),
    [("yolox_nano.pth", RAW_INPUT), ("yolox_nano_legacy.pth", LEGACY_INPUT)],
)
def test_real_weights_lose_nothing(
    weights: str, convention: InputConvention, data_file: Any, dog: NDArray[np.uint8]
) -> None:
    network = load_checkpoint(data_file(f"weights/{weights}")).network
    images = torch.empty(1, 3, 416, 416)
    Letterbox(416, 416, convention)(dog, images[0].numpy())
    with torch.no_grad():
        found, expected = prepare(network, convention)(images), network(images)
    assert (found - expected)[..., 4:].abs().max() < 1e-4
    # Offsets and logarithms of sizes; those of rows that show nothing are less stable.
    assert (found - expected)[..., :4].abs().max() < 2e-3
    shown = expected[..., 4] > 0.25
    assert shown.any()
    assert (found - expected)[shown].abs().max() < 2e-4


def test_scaling_the_stem_changes_no_bit(nano_pth: Path) -> None:
    network = load_checkpoint(nano_pth).network
    images = pixels(*NOT_SQUARE)
    with torch.no_grad():
        scaled = prepare(network, RAW_INPUT)(images)
        plain = prepare(network, RAW_INPUT, scale_stem=False)(images)
    assert torch.equal(scaled, plain)


def test_every_batch_normalisation_is_folded_and_the_focus_is_gone(network_of: Any) -> None:
    prepared = prepare(network_of("nano"), RAW_INPUT)
    kinds = {type(module) for module in prepared.modules()}
    assert nn.BatchNorm2d not in kinds
    assert Focus not in kinds
    conv = stem_of(prepared.network).conv
    assert (conv.kernel_size, conv.stride, conv.padding) == ((6, 6), (2, 2), (2, 2))


def test_a_focus_stem_is_exactly_one_convolution() -> None:
    torch.manual_seed(3)
    focus = Focus(3, 5).double().eval()
    focus.conv.bn = nn.Identity()
    focus.conv.conv.bias = nn.Parameter(torch.randn(5, dtype=torch.float64))
    images = torch.randn(1, 3, 10, 14, dtype=torch.float64)
    with torch.no_grad():
        expected = focus(images)
        found = focus_to_convolution(copy.deepcopy(focus))(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("convention", "exponent"),
    [
        (RAW_INPUT, 8),
        (LEGACY_INPUT, 0),
        (InputConvention("RGB"), 8),
        (InputConvention("BGR", 1 / 255), 0),
        (InputConvention("BGR", 1.0, (128.0,) * 3), 7),
    ],
    ids=["raw", "legacy", "raw RGB", "0..1", "centred"],
)
def test_the_stem_is_scaled_by_what_its_input_needs(
    convention: InputConvention, exponent: int
) -> None:
    assert stem_exponent(convention) == exponent


def test_the_scaled_stem_leaves_the_range_of_fp16_subnormals(nano_pth: Path) -> None:
    network = load_checkpoint(nano_pth).network
    smallest_normal = 2.0**-14

    def share(prepared: Any) -> float:
        weight = stem_of(prepared.network).conv.weight.abs()
        return float((weight < smallest_normal).float().mean())

    assert share(prepare(network, RAW_INPUT, scale_stem=False)) > 0.1
    assert share(prepare(network, RAW_INPUT)) < 0.01


@pytest.mark.parametrize("name", ["nano", "darknet53"])
def test_the_original_network_is_untouched(name: str, network_of: Any) -> None:
    network = network_of(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modules = [type(module) for module in network.modules()]
    prepare(network, RAW_INPUT)
    assert [type(module) for module in network.modules()] == modules
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
