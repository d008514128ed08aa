"""What the first layer of a network tells of its input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from yolox_deploy.models import build_network
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.models.random_weights import bundled_pictures
from yolox_deploy.models.stem import first_block, input_of


@pytest.mark.parametrize("name", ["nano", "s", "darknet53"])
def test_an_untrained_network_is_not_taken_for_a_legacy_one(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 2)
    found = input_of(network)
    assert found.legacy is None
    assert "not trained" in found.why

    first = first_block(network)
    pictures = bundled_pictures()
    if name != "darknet53":
        pictures = torch.nn.functional.pixel_unshuffle(pictures, 2)
    with torch.no_grad():
        for momentum, legacy in ((1e-4, None), (1.0, False)):
            # Statistics that have hardly begun to move look like those of legacy input.
            first.bn.momentum = momentum
            first(pictures)
            assert input_of(network).legacy is legacy
            assert ("few training steps: 1" in input_of(network).why) == (momentum < 1)


def test_weights_that_were_fine_tuned_for_a_few_steps_are_found(data_file: Any) -> None:
    network = load_checkpoint(data_file("weights/yolox_nano_legacy.pth")).network
    counter = first_block(network).bn.num_batches_tracked
    assert counter is not None
    counter.fill_(13)
    assert input_of(network).legacy is True
    network.half()
    assert input_of(network).legacy is True
