"""The moving average of the weights: the weights that are evaluated, saved and exported."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

# The decay grows from 0 with this time constant (updates), so that the start is forgotten.
RAMP = 2000

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """An exponential moving average of a network's parameters and BN statistics.

    ``network`` is the averaged copy, in evaluation mode and without gradients.
    """

    def __init__(self, network: Network, decay: float, updates: int = 0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = updates

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move the average towards the network's present weights."""
        self.updates += 1
        weight = 1 - self.decay * (1 - math.exp(-self.updates / RAMP))
        present = network.state_dict()
        for key, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(present[key], weight)
            else:
                average.copy_(present[key])
