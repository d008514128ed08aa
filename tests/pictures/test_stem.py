"""The input convention that a first convolution was trained with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.pictures.stem import FOCUS_OFFSETS, InputFound, find_input

Array = NDArray[np.float32]
DIVIDED = InputConvention(scale=1 / 255)
CENTRED = InputConvention("RGB", 1 / 127.5, (1.0, 1.0, 1.0))


def trained_on(
    image: NDArray[np.uint8], convention: InputConvention, kernel: int, seed: int
) -> tuple[Array, Array, Array]:
    """Return random filters, and the mean and variance of what they give on a picture."""
    tensor = np.empty((3, 416, 416), np.float32)
    Letterbox(416, 416, convention)(image, tensor)
    windows = np.lib.stride_tricks.sliding_window_view(tensor, (kernel, kernel), (1, 2))
    patches = windows[:, :312:3, ::3].transpose(1, 2, 0, 3, 4).reshape(-1, 3 * kernel**2)
    weight = np.random.default_rng(seed).normal(0, 0.1, (32, 3 * kernel**2)).astype(np.float32)
    outputs = patches @ weight.T
    return weight.reshape(32, 3, kernel, kernel), outputs.mean(0), outputs.var(0)


@pytest.mark.parametrize("kernel", [3, 6])
@pytest.mark.parametrize(
    ("convention", "legacy"),
    [(RAW_INPUT, False), (LEGACY_INPUT, True), (DIVIDED, None), (CENTRED, None)],
    ids=["plain", "legacy", "0..1", "-1..1"],
)
def test_the_input_is_found_from_the_statistics_and_from_folded_weights(
    convention: InputConvention, legacy: bool | None, kernel: int, dog: NDArray[np.uint8]
) -> None:
    for seed in range(5):
        weight, mean, variance = trained_on(dog, convention, kernel, seed)
        found = find_input(weight, None, mean, variance)
        assert found.legacy is legacy, found
        assert f"vary by about {found.spread:.2g}" in found.why
        # Any scale of the weights that the statistics follow is the same network.
        scaled = find_input(8 * weight, None, 8 * mean, 64 * variance)
        assert (scaled.legacy, scaled.spread) == (legacy, pytest.approx(found.spread))
        folded = weight / np.sqrt(variance)[:, None, None, None]
        assert find_input(folded, -mean / np.sqrt(variance)).legacy is legacy
        assert find_input(folded.astype(np.float16), -mean / np.sqrt(variance)).legacy is legacy


def test_the_mean_of_the_pixels_is_found(dog: NDArray[np.uint8]) -> None:
    weight, mean, variance = trained_on(dog, RAW_INPUT, 6, 0)
    assert find_input(weight, None, mean, variance).level == pytest.approx(120, abs=15)
    # A bias of the convolution is no light.
    assert find_input(weight, np.ones(32), mean + 1, variance).level == pytest.approx(120, abs=15)
    weight, mean, variance = trained_on(dog, LEGACY_INPUT, 6, 0)
    assert find_input(weight, None, mean, variance).level == pytest.approx(0, abs=0.3)
    # Legacy pixels are never as bright as 9.
    assert find_input(weight, None, mean + 9 * weight.sum((1, 2, 3)), variance).legacy is None


def test_a_focus_layer_is_the_large_convolution(dog: NDArray[np.uint8]) -> None:
    large, mean, variance = trained_on(dog, LEGACY_INPUT, 6, 0)
    groups = [large[:, :, dy::2, dx::2] for dy, dx in FOCUS_OFFSETS]
    focus = np.concatenate(groups, 1)
    assert focus.shape == (32, 12, 3, 3)
    assert find_input(focus, None, mean, variance) == find_input(large, None, mean, variance)


def test_what_was_not_trained_or_lies_between_is_not_told(dog: NDArray[np.uint8]) -> None:
    weight, mean, variance = trained_on(dog, LEGACY_INPUT, 6, 0)
    spread = find_input(weight, None, mean, variance).spread
    for factor in (0.1, 3.5, 8, 300):
        found = find_input(weight, None, factor * mean, factor**2 * variance)
        assert (found.legacy, found.spread) == (None, pytest.approx(factor * spread))
    # Statistics of a few steps are still half those of an untrained network.
    assert find_input(weight, None, mean, variance, steps=5).legacy is None
    assert "few training steps: 5" in find_input(weight, None, mean, variance, steps=5).why
    assert find_input(weight, None, mean, variance, steps=100).legacy is True
    assert "not trained" in find_input(weight, np.zeros(32)).why
    assert "not trained" in find_input(weight).why


@pytest.mark.parametrize(
    ("weight", "others", "words"),
    [
        (np.zeros((4, 3, 6, 6)), (), "not trained"),
        (np.zeros((4, 3, 6, 6)), (np.ones(4),), "zero"),
        (np.ones((4, 3, 6)), (), r"shape \(4, 3, 6\)"),
        (np.ones((4, 1, 3, 3)), (), "not YOLOX's"),
        (np.ones((4, 3, 6, 3)), (), "not YOLOX's"),
        (np.ones((4, 3, 99, 99)), (), "not YOLOX's"),
        (np.ones((0, 3, 6, 6)), (), "not YOLOX's"),
        (np.ones((4, 3, 6, 6), np.int8), (), "not YOLOX's"),
        (np.full((4, 3, 6, 6), np.nan), (np.ones(4),), "NaN"),
        (np.ones((4, 3, 6, 6)), (np.ones(3),), "do not fit"),
        (np.ones((4, 3, 6, 6)), (None, np.ones(4), np.full(4, np.inf)), "infinity"),
        (np.ones((4, 3, 6, 6)), (None, np.ones(4), -np.ones(4)), "zero"),
        (np.full((4, 3, 6, 6), 1e200), (np.ones(4),), "zero"),
    ],
)
def test_what_is_no_first_convolution_is_not_told(weight: Any, others: Any, words: str) -> None:
    found = find_input(weight, *others)
    assert found.legacy is None
    assert np.isnan(found.spread)
    assert re.search(words, found.why)


def first_of(path: Path) -> InputFound:
    graph = onnx.load(path).graph
    values = {row.name: row for row in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    return find_input(*(numpy_helper.to_array(values[name]) for name in first.input[1:]))


@pytest.mark.parametrize(
    ("name", "legacy"),
    [
        ("onnx/yolox_nano_official.onnx", False),
        ("foreign/yolox_nano_fish_416.onnx", False),
        ("foreign/yolox_nano_legacy_416.onnx", True),
    ],
)
def test_exports_of_others_tell_it(name: str, legacy: bool, data_file: Any) -> None:
    assert first_of(data_file(name)).legacy is legacy
