"""Every architecture against keys, shapes and outputs of the original implementation."""

from __future__ import annotations

import json
import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.detect import Detect

# The original's experiment files; an architecture without one here fails the suite.
REFERENCES = {
    "nano": "yolox-nano",
    "tiny": "yolox-tiny",
    "s": "yolox-s",
    "m": "yolox-m",
    "l": "yolox-l",
    "x": "yolox-x",
    "darknet53": "yolov3",
}
EVERY_NTH_ROW = 97
# How far a raw value may be off: absolutely, and relative to its size for what float32 rounds.
TOLERANCE = 1e-4
ROUNDING = 1e-6


@pytest.fixture(scope="session")
def reference_models(data_file: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        data_file("reference/yolox_reference_models.json").read_text()
    )
    return content


@pytest.fixture(scope="session")
def reference_outputs(data_file: Any) -> Any:
    return np.load(data_file("reference/yolox_reference_outputs.npz"))


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def case(
    request: pytest.FixtureRequest, reference_models: dict[str, Any], reference_weights: ModuleType
) -> tuple[str, YOLOX]:
    """A name and its network with the reference weights, built once for all tests of it."""
    facts = reference_models[REFERENCES[request.param]]
    # Another test may have lowered it, and it is the whole process'.
    torch.set_num_threads(os.cpu_count() or 1)
    with torch.device("meta"):
        network = build_network(request.param)
    network.load_state_dict(
        {
            key: torch.from_numpy(
                np.asarray(
                    reference_weights.reference_tensor(key, tuple(value.shape), facts["gain"])
                )
            )
            for key, value in network.state_dict().items()
        },
        assign=True,
    )
    return request.param, network.eval().requires_grad_(False)


def test_every_architecture_has_a_reference(reference_models: dict[str, Any]) -> None:
    assert set(REFERENCES) == set(ARCHITECTURES)
    assert set(REFERENCES.values()) == set(reference_models)


def test_keys_and_shapes_are_those_of_the_original(
    case: tuple[str, YOLOX], reference_models: dict[str, Any]
) -> None:
    name, network = case
    stated = {k: tuple(v) for k, v in reference_models[REFERENCES[name]]["keys"].items()}
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == stated
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == reference_models[REFERENCES[name]]["params"]
    published = ARCHITECTURES[name].params_m
    assert published is not None
    assert parameters / 1e6 == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("size", ["test_size", "rect"])
def test_outputs_are_those_of_the_original(
    size: str,
    case: tuple[str, YOLOX],
    reference_models: dict[str, Any],
    reference_outputs: Any,
    reference_weights: ModuleType,
) -> None:
    name, network = case
    facts = reference_models[REFERENCES[name]]["outputs"][size]
    height, width = facts["input_hw"]
    if size == "test_size":
        assert ARCHITECTURES[name].test_size == height == width
    images = torch.from_numpy(reference_weights.reference_input(height, width))
    with torch.inference_mode():
        raw = network(images)[0].numpy()
    assert raw.shape == (facts["anchors"], 85)
    assert np.abs(raw).max() == pytest.approx(facts["raw_absmax"], abs=TOLERANCE)
    assert raw.astype(np.float64).sum() == pytest.approx(facts["raw_sum"], rel=ROUNDING)
    expected = {
        kind: reference_outputs[f"{REFERENCES[name]}.{size}.{kind}_rows"]
        for kind in ("raw", "decoded")
    }
    assert raw[::EVERY_NTH_ROW].shape == expected["raw"].shape
    np.testing.assert_allclose(raw[::EVERY_NTH_ROW], expected["raw"], rtol=ROUNDING, atol=TOLERANCE)

    # From picture to box.  The bound of a raw value (`allowed`, as in the line above) becomes that
    # of the decoded one: a centre is (raw + cell) * stride, so its difference is `stride` times as
    # large; a size is exp(raw) * stride, so a difference d of the raw value multiplies the size by
    # exp(d), which is at most expm1(allowed) of the box's own size.  Scores are not decoded.  What
    # the decoder itself rounds in float32 comes on top.
    decoder = Detect().decoder(ModelSpec(name, COCO_NAMES, height, width))
    allowed = TOLERANCE + ROUNDING * np.abs(expected["raw"])
    allowed[:, :2] *= decoder.stride[::EVERY_NTH_ROW]
    allowed[:, 2:4] = np.expm1(allowed[:, 2:4]) * expected["decoded"][:, 2:4]
    allowed += ROUNDING * np.abs(expected["decoded"]) + ROUNDING
    difference = np.abs(decoder.decode(raw)[::EVERY_NTH_ROW] - expected["decoded"])
    assert (difference <= allowed).all(), (difference / allowed).max()

    # The decoder alone, on the original's own rows, is exact.
    raw[::EVERY_NTH_ROW] = expected["raw"]
    decoded = decoder.decode(raw)[::EVERY_NTH_ROW]
    np.testing.assert_allclose(decoded, expected["decoded"], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_published_gflops_are_those_of_the_network(name: str) -> None:
    row = ARCHITECTURES[name]
    with torch.device("meta"):
        network = build_network(name).eval()
        multiplications = 0

        def count(module: nn.Conv2d, _: Any, output: torch.Tensor) -> None:
            nonlocal multiplications
            multiplications += output.numel() * module.weight[0].numel()

        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(count)
        network(torch.zeros(1, 3, row.test_size, row.test_size))
    # The published figures also count the normalisation layers.
    assert row.gflops is not None
    assert 2 * multiplications / 1e9 == pytest.approx(row.gflops, rel=0.035)


@pytest.mark.parametrize("classes", [1, 7])
def test_any_number_of_classes_and_any_size_that_divides(classes: int) -> None:
    network = build_network("nano", classes).eval()
    with torch.inference_mode():
        output = network(torch.zeros(2, 3, 64, 96))
    assert output.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 5 + classes)
    assert ((output[..., 4:] >= 0) & (output[..., 4:] <= 1)).all()
