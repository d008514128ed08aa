"""The cache of exports: what ``Detector("x.pth")`` opens, made once."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

from yolox_deploy.errors import MissingPackageError
from yolox_deploy.files import cache_folder, sha256_of
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SpecHints
from yolox_deploy.weights import NEEDS_TORCH

# Changes where an export of the same checkpoint would come out differently.
EXPORT_CACHE_VERSION = 1


def exported(checkpoint: Path, backend: str, hints: SpecHints) -> Path:
    """Return the artifact for ``backend`` made from ``checkpoint``, exporting it the first time.

    It is kept in the cache folder under the checkpoint's content and the hints; ``auto`` takes
    the first backend that can run here.  Raises what the export raises.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingPackageError(
            f"{checkpoint.name} is a checkpoint, and reading one needs PyTorch: {NEEDS_TORCH}"
        )
    from yolox_deploy.export import TARGETS, ExportOptions, export_model

    able = [t for t in TARGETS.values() if t.backend == backend or backend == "auto"]
    ready = [t for t in able if BACKENDS[t.backend].availability().ok]
    if not ready:
        if backend == "auto":
            return checkpoint
        # Says which package is missing.
        BACKENDS[backend].runtime_class()
    target = ready[0]
    # An engine is of no use on another GPU or to another version: those have one of their own.
    machine = [target.made_for()] if target.made_for() else []
    options = json.dumps([EXPORT_CACHE_VERSION, asdict(hints), *machine], sort_keys=True)
    key = f"{sha256_of(checkpoint)[:16]}-{hashlib.sha256(options.encode()).hexdigest()[:8]}"
    folder = cache_folder() / "exports" / key
    artifact = folder / f"{checkpoint.stem}{target.suffix}"
    if not artifact.is_file():
        export_model(checkpoint, [target.name], ExportOptions(hints=hints, dynamic=True), folder)
    return artifact
