"""The weights of a run: where they start, their moving average, and the files that keep them."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import nn

from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import (
    CheckpointError,
    InputFileError,
    YoloxDeployError,
    in_short,
    number_of,
)
from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.checkpoint import Checkpoint
from yolox_deploy.models.heads import start_scores
from yolox_deploy.models.reading import read_tensors_only
from yolox_deploy.training.recipes import STAGES, Recipe

# The tensors with one row per class.
CLASS_ROWS = re.compile(r"head\.cls_preds\.\d+\.(weight|bias)")

Network = TypeVar("Network", bound=nn.Module)


def initial_network(
    arch: str, names: Sequence[str], seed: int, weights: Checkpoint | None
) -> tuple[YOLOX, ClassRows | None]:
    """Return the network, and which of its classes kept what ``weights`` know of them."""
    torch.manual_seed(seed)
    network = build_network(arch, len(names))
    start_scores(network.head)
    if weights is None:
        return network, None
    own, given = network.state_dict(), weights.network.state_dict()
    rows = ClassRows.matched(names, weights)
    for key, value in given.items():
        if CLASS_ROWS.fullmatch(key):
            for new, old in rows.kept.items():
                own[key][new] = value[old]
        else:
            own[key] = value
    network.load_state_dict(own)
    return network, rows


@dataclass(frozen=True)
class ClassRows:
    """Which classes a checkpoint knows: ``kept`` is class index to its own class index.

    ``note`` is a sentence for the user.
    """

    kept: dict[int, int]
    fresh: tuple[str, ...]
    note: str

    @classmethod
    def matched(cls, names: Sequence[str], weights: Checkpoint) -> Self:
        """Match the classes by name; upper and lower case are the same.

        A checkpoint that names no classes, but has as many, is taken to mean the same ones.
        """
        count = weights.network.num_classes
        known = weights.names or (COCO_NAMES if count == len(COCO_NAMES) else None)
        if known is None and count == len(names):
            kept = {i: i for i in range(count)}
            own = number_of(count, "class", "classes")
            note = f"has {own} and no names of classes: they are taken to be yours, in their order"
            return cls(kept, (), f"{weights.path} {note}")
        place = {name.casefold(): i for i, name in enumerate(known or ())}
        kept = {
            i: place[name.casefold()] for i, name in enumerate(names) if name.casefold() in place
        }
        fresh = tuple(name for i, name in enumerate(names) if i not in kept)
        yours = number_of(len(names), "class", "classes")
        found = f"{weights.path} knows {len(kept)} of your {yours}"
        if kept:
            found += ", and training starts from what it knows of them"
        if fresh:
            found += f"; new: {in_short(fresh)}"
        return cls(kept, fresh, found)


class WeightAverage(Generic[Network]):
    """An exponential moving average of a network's parameters and BN statistics.

    ``network`` is the averaged copy, in evaluation mode and without gradients: what is evaluated,
    saved and exported.  The decay grows from 0 to ``decay`` with a time constant of ``ramp``
    updates, so that random weights at the start are forgotten.
    """

    def __init__(self, network: Network, decay: float, ramp: int = 2000) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.ramp = ramp
        self.updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move the average towards the network's present weights."""
        self.updates += 1
        weight = 1 - self.decay * (1 - math.exp(-self.updates / self.ramp))
        present = network.state_dict()
        for key, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(present[key], weight)
            else:
                average.copy_(present[key])


def frozen_stages(network: YOLOX, count: int) -> list[nn.Module]:
    """Return the first stages of a network: 1 to 5 of the backbone, the sixth is the pyramid."""
    if count == len(STAGES):
        return [network.backbone]
    return [network.backbone.backbone.get_submodule(name) for name in STAGES[:count]]


def sgd(network: YOLOX, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum; only convolution weights decay."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    decaying = [weight for weight in learning if weight.ndim == 4]
    others = [weight for weight in learning if weight.ndim != 4]
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, recipe.lr, recipe.momentum, nesterov=True)


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
