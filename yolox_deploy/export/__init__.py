"""Checkpoint to ONNX, ONNX to the other formats, and verification (needs PyTorch and ONNX).

Names are imported when they are first used, so that parts that need neither can be used alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_deploy.export.pipeline import (
        EngineNotBuiltError,
        ExportOptions,
        ExportResult,
        UnverifiedError,
        export_model,
    )
    from yolox_deploy.export.targets import TARGETS, Target, target
    from yolox_deploy.export.tensorrt import EngineSettings
    from yolox_deploy.export.verify import Verification

__all__ = [
    "TARGETS",
    "EngineNotBuiltError",
    "EngineSettings",
    "ExportOptions",
    "ExportResult",
    "Target",
    "UnverifiedError",
    "Verification",
    "export_model",
    "target",
]

_HOMES = {
    "EngineNotBuiltError": "pipeline",
    "EngineSettings": "tensorrt",
    "ExportOptions": "pipeline",
    "ExportResult": "pipeline",
    "TARGETS": "targets",
    "Target": "targets",
    "UnverifiedError": "pipeline",
    "Verification": "verify",
    "export_model": "pipeline",
    "target": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
