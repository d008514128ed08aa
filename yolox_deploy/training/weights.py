"""The weights of a run: where they start, their moving average, and the files that keep them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from yolox_deploy.errors import CheckpointError, InputFileError, YoloxDeployError
from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.checkpoint import Checkpoint
from yolox_deploy.models.heads import start_scores
from yolox_deploy.models.reading import read_tensors_only
from yolox_deploy.models.stem import is_identity

# The decay grows from 0 with this time constant (updates), so that the start is forgotten.
RAMP = 2000

Network = TypeVar("Network", bound=nn.Module)


def initial_network(
    arch: str, num_classes: int, seed: int, weights: Checkpoint | None
) -> tuple[YOLOX, list[str]]:
    """Return the network, and sentences about what was taken from ``weights``."""
    torch.manual_seed(seed)
    network = build_network(arch, num_classes)
    start_scores(network.head)
    if weights is None:
        return network, []
    own, given = network.state_dict(), weights.network.state_dict()
    kept = {key: value for key, value in given.items() if own[key].shape == value.shape}
    network.load_state_dict(kept, strict=False)
    fresh = sorted(own.keys() - kept.keys())
    notes = [*weights.notes, f"{weights.path}: kept {len(kept)} of {len(own)} tensors"]
    if fresh:
        notes[-1] += (
            f"; re-initialised {', '.join(fresh)}"
            f" ({weights.network.num_classes} classes before, {num_classes} now)"
        )
    layers = [m for m in weights.network.modules() if isinstance(m, nn.BatchNorm2d)]
    if all(map(is_identity, layers)):
        notes.append(
            f"{weights.path}: its batch norm statistics are the identity (folded into the"
            " convolutions), so fine-tuning starts little better than from scratch; weights with"
            " real statistics, such as the legacy release, start better"
        )
    return network, notes


class WeightAverage(Generic[Network]):
    """An exponential moving average of a network's parameters and BN statistics.

    ``network`` is the averaged copy, in evaluation mode and without gradients: what is evaluated,
    saved and exported.
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


@contextmanager
def reported_as_damaged(path: Path) -> Iterator[None]:
    """Turn what the wrong content of a ``last.pth`` raises into a :class:`CheckpointError`."""
    try:
        yield
    except YoloxDeployError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(
            f"{path}: damaged, or of another version of this package ({reason}): start a new run "
            f"from its weights, or from those of {path.with_name('best.pth')}"
        ) from error


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give the optimizer its stored state; raises ``ValueError`` where it does not fit."""
    optimizer.load_state_dict(state)
    for parameter, stored in optimizer.state.items():
        for name, value in stored.items():
            if isinstance(value, torch.Tensor) and value.shape != parameter.shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}")


def load_run(path: Path) -> dict[str, Any]:
    """Return the content of a ``last.pth`` that this package wrote; no code in it is run.

    Raises :class:`InputFileError` where there is none, :class:`CheckpointError` for another file.
    """
    if not path.is_file():
        raise InputFileError(f"{path}: no such file, so there is no run to resume")
    content = read_tensors_only(path)
    if not isinstance(content, dict) or not {"settings", "history", "raw_model"} <= content.keys():
        raise CheckpointError(
            f"{path}: not the last.pth of a training run; to start from its weights, give it as"
            " the weights of a new run"
        )
    return content
