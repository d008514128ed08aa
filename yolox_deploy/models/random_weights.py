"""Checkpoints of random weights, for the latency of architectures that nobody has trained yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from yolox_deploy.architectures import architecture
from yolox_deploy.files import ASSETS, cache_folder, is_whole, seal
from yolox_deploy.models.heads import start_scores
from yolox_deploy.models.network import build_network
from yolox_deploy.models.saving import save_checkpoint
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.letterbox import Letterbox

# Rises when the same random weights would come out differently.
CACHE_VERSION = 1
SEED = 0
SIDE = 416


def random_checkpoint(name: str) -> Path:
    """Return a checkpoint of an architecture with random weights, made once in the cache folder.

    Raises :class:`UsageError` for an unknown architecture.
    """
    arch = architecture(name)
    path = cache_folder() / f"random_{CACHE_VERSION}" / f"yolox_{arch.name}.pth"
    if is_whole(path):
        return path
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_network(arch)
        # The statistics of real pictures keep activations in a usual range through all layers;
        # without them they shrink to subnormal numbers, which processors compute slowly.
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network(bundled_pictures())
        start_scores(network.head)
    save_checkpoint(path, {"model": network.state_dict()})
    seal(path, [path])
    return path


def bundled_pictures() -> Tensor:
    """Return the pictures that ship with the package, (N, 3, 416, 416) as the network wants."""
    paths = sorted(ASSETS.glob("*.jpg"))
    pictures = np.empty((len(paths), 3, SIDE, SIDE), np.float32)
    letterbox = Letterbox(SIDE, SIDE, RAW_INPUT)
    for path, picture in zip(paths, pictures, strict=True):
        letterbox(read_image(path), picture)
    return torch.from_numpy(pictures)
