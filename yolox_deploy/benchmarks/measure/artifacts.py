"""From what ``--model`` names to a file that a backend opens, exported once into the cache.

Unlike ``Detector("x.pth")``, which keeps batches dynamic, artifacts are exported for the batch that
is measured: it is what somebody deploys who cares for latency.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yolox_deploy.errors import MissingPackageError, UsageError
from yolox_deploy.files import ASSETS, cache_folder, make_folder, sha256_of, workplace
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES, backend, backend_for
from yolox_deploy.spec import SpecHints
from yolox_deploy.weights import NEEDS_TORCH, find_model

if TYPE_CHECKING:
    import torch

# Changes where an export of the same checkpoint, or random weights, would come out differently.
CACHE_VERSION = 1
SEED = 0
PRIOR = 0.01


def find_checkpoint_or_artifact(model: str | None, *, random: bool = False) -> Path:
    """Return the file that ``model`` names; with ``random`` a checkpoint of random weights.

    Raises what :func:`~yolox_deploy.weights.find_model` raises.
    """
    if not random:
        return find_model(model)
    if model is None:
        raise UsageError("--random-weights needs an architecture: --model yolox_l")
    if importlib.util.find_spec("torch") is None:
        raise MissingPackageError(
            f"random weights are made by PyTorch: {NEEDS_TORCH.split(';')[0]}"
        )
    return random_checkpoint(model)


def random_checkpoint(name: str) -> Path:
    """Return a checkpoint of an architecture with random weights, made once in the cache folder.

    Raises :class:`UsageError` for an unknown architecture.
    """
    import torch

    from yolox_deploy.architectures import architecture
    from yolox_deploy.models import build_network

    arch = architecture(name)
    path = cache_folder() / f"random_{CACHE_VERSION}" / f"yolox_{arch.name}.pth"
    if path.is_file():
        return path
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_network(arch)
        # Statistics of drawn pictures keep activations in a usual range through all layers: left
        # to themselves they shrink to subnormal numbers, which are slow.
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network(_drawn_pictures())
            # Scores start low, as in training; about 0 every cell would be a detection.
            for layer in (*network.head.cls_preds, *network.head.obj_preds):
                layer.bias.fill_(math.log(PRIOR / (1 - PRIOR)))
    with workplace(make_folder(path.parent)) as place:
        torch.save({"model": network.state_dict()}, place / path.name)
        (place / path.name).replace(path)
    return path


def _drawn_pictures() -> torch.Tensor:
    """Return the pictures that ship with the package, (N, 3, 416, 416) as the network wants."""
    import torch

    side = 416
    paths = sorted(ASSETS.glob("*.jpg"))
    pictures = np.empty((len(paths), 3, side, side), np.float32)
    letterbox = Letterbox(side, side, RAW_INPUT)
    for path, picture in zip(paths, pictures, strict=True):
        letterbox(read_image(path), picture)
    return torch.from_numpy(pictures)


def artifact_for(path: Path, name: str, batch: int, hints: SpecHints, *, verify: bool) -> Path:
    """Return the file that backend ``name`` opens: ``path`` itself, or its checkpoint's export.

    ``name`` is no ``auto``, see :func:`concrete_backend`.  The export takes exactly ``batch``
    pictures, one where the format has no batches.  Raises what the export raises.
    """
    if path.suffix.lower() not in CHECKPOINT_SUFFIXES or name == "torch":
        backend_for(path, name)
        return path
    if importlib.util.find_spec("torch") is None:
        raise MissingPackageError(
            f"{path.name} is a checkpoint, and reading one needs PyTorch: {NEEDS_TORCH}"
        )
    from yolox_deploy.export import TARGETS, ExportOptions, export_model

    BACKENDS[name].runtime_class()
    targets = [row for row in TARGETS.values() if row.backend == name]
    if not targets:
        raise UsageError(f"no export target makes files for backend {name}: give such a file")
    target = targets[0]
    given = json.dumps([CACHE_VERSION, batch, verify, asdict(hints)], sort_keys=True)
    key = f"{sha256_of(path)[:16]}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"
    folder = cache_folder() / "benchmarks" / key
    artifact = folder / f"{path.stem}{target.suffix}"
    if not artifact.is_file():
        options = ExportOptions(hints=hints, batch=batch, verify=verify)
        export_model(path, [target.name], options, folder)
    return artifact


def concrete_backend(path: Path, name: str) -> str:
    """Return the backend that ``auto`` stands for with this file, or the name itself, checked.

    Raises :class:`UsageError` for an unknown backend, :class:`MissingPackageError` where none can
    run here.
    """
    if name != "auto":
        return backend(name).name
    if path.suffix.lower() not in CHECKPOINT_SUFFIXES:
        return backend_for(path).name
    for row in BACKENDS.values():
        if row.availability().ok:
            return row.name
    first = next(iter(BACKENDS.values()))
    raise MissingPackageError(f"no engine is installed: {first.install}")
