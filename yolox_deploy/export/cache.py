"""The one cache of exports: a checkpoint becomes a backend's artifact once."""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from dataclasses import asdict, replace
from pathlib import Path

from yolox_deploy.errors import ModelWarning, UsageError
from yolox_deploy.export.options import ExportOptions
from yolox_deploy.export.targets import HUB, TARGETS, Target
from yolox_deploy.files import cache_folder, is_whole, one_at_a_time, seal, sha256_of
from yolox_deploy.packages import require
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES
from yolox_deploy.runtimes.doubts import MADE_FROM
from yolox_deploy.spec import SpecHints
from yolox_deploy.tasks.proof import UNPROVEN
from yolox_deploy.weights import BUNDLED, BUNDLED_ONNX, needs_torch

# Changes where an export of the same checkpoint would come out differently.
EXPORT_CACHE_VERSION = 4


def exported(
    model: Path,
    backend: str,
    hints: SpecHints,
    *,
    batch: int | None = None,
    fp16: bool = False,
    verify: bool = True,
) -> Path:
    """Return the file that ``backend`` opens: ``model`` itself, or what it is exported to.

    A checkpoint is exported the first time, for exactly ``batch`` pictures per call (``None``: any
    number).  The artifact is kept in the cache folder under the checkpoint's content, the options,
    and where it matters the machine; if a file of it is damaged, it is exported again.  Of several
    processes that need it at once, one exports it.  ``auto`` is the first backend that can run
    here; where none can, and for a backend that opens checkpoints, the checkpoint is returned.  One
    export ships with the package.

    Raises :class:`UsageError` for a backend that no target writes files for,
    :class:`MissingPackageError` without PyTorch, and what the export raises.
    """
    suffix = model.suffix.lower()
    if suffix not in CHECKPOINT_SUFFIXES:
        return model
    if backend != "auto" and suffix in BACKENDS[backend].suffixes:
        return model
    for package in ("torch", "onnx"):
        reason = f"{model.name} is a checkpoint, and exporting one needs {package}"
        require(package, reason, needs_torch())
    target = target_for(backend)
    if target is None:
        return model
    options = ExportOptions(
        hints=hints,
        batch=1 if batch is None else batch,
        dynamic=batch is None,
        fp16=fp16,
        verify=verify,
    )
    if model == BUNDLED and (target.name, options) == (HUB.name, ExportOptions(dynamic=True)):
        return BUNDLED_ONNX
    folder = cache_folder() / "exports" / _key(model, target, options)
    artifact = _whole(folder, target)
    if artifact is None:

        def waiting() -> None:
            note = f"waiting for another process that may be exporting {model.name} now"
            warnings.warn(note, ModelWarning, stacklevel=4)

        with one_at_a_time(folder, waiting):
            # Another process may have made it meanwhile.
            artifact = _whole(folder, target)
            if artifact is None:
                artifact = _make(model, target, replace(options, overwrite=True), folder)
    MADE_FROM[artifact] = model
    return artifact


def _whole(folder: Path, target: Target) -> Path | None:
    """Return the artifact in a folder of the cache, whose name only the checkpoint knows."""
    return next(filter(is_whole, folder.glob(f"*{target.suffix}")), None)


def _make(model: Path, target: Target, options: ExportOptions, folder: Path) -> Path:
    """Export a checkpoint to ``folder``, record the artifact's content, and return its path."""
    from yolox_deploy.export.pipeline import export_model

    for artifact in folder.glob(f"*{target.suffix}"):
        note = f"{artifact} was damaged or not finished: it is made again"
        warnings.warn(note, ModelWarning, stacklevel=3)
    (result,) = export_model(model, [target.name], options, folder)
    seal(result.path, target.files(result.path))
    if options.verify:
        found = result.verification
        notes = [*found.notes]
        if found.status in UNPROVEN:
            notes.append(
                f"the export of {model.name} is {found.status}; for one that is proven: "
                f"yolox-export --model {shlex.quote(str(model))} --to {target.name} --verify "
                "FOLDER"
            )
        for note in notes:
            warnings.warn(note, ModelWarning, stacklevel=3)
    return result.path


def target_for(backend: str) -> Target | None:
    """Return the target that writes files for ``backend``.

    For ``auto`` it is the first target whose backend can run here, ``None`` if there is none.
    Raises :class:`UsageError` for a backend without a target, :class:`MissingPackageError` or
    :class:`~yolox_deploy.errors.DeviceError` for a backend that cannot run here.
    """
    if backend == "auto":
        rows = (row for row in TARGETS.values() if row.backend in BACKENDS)
        return next((row for row in rows if BACKENDS[row.backend].availability().ok), None)
    able = next((row for row in TARGETS.values() if row.backend == backend), None)
    if able is None:
        raise UsageError(
            f"no export target writes files for backend {backend}: give it a file that it opens "
            f"({' or '.join(BACKENDS[backend].suffixes)}) instead of a checkpoint"
        )
    if not BACKENDS[backend].availability().ok:
        # Says which package or GPU is missing.
        BACKENDS[backend].runtime_class()
    return able


def _key(checkpoint: Path, target: Target, options: ExportOptions) -> str:
    """Return a folder name for everything that an artifact depends on."""
    given = {
        "version": EXPORT_CACHE_VERSION,
        "target": target.name,
        "made for": target.made_for(),
        "hints": asdict(options.hints),
        "batch": None if options.dynamic else options.batch,
        "fp16": options.fp16,
        "verify": options.verify,
    }
    text = json.dumps(given, sort_keys=True)
    return f"{sha256_of(checkpoint)[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
