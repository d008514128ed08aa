"""Checkpoint to ONNX, ONNX to the other formats, and verification (needs PyTorch and ONNX).

What needs PyTorch and ONNX is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yolox_deploy.export.options import ExportOptions
from yolox_deploy.export.results import ExportResult, NotBuiltError, UnverifiedError
from yolox_deploy.export.targets import TARGETS, Setting, Target

if TYPE_CHECKING:
    from yolox_deploy.export.pipeline import export_model
    from yolox_deploy.verification.verify import Verification

__all__ = [
    "TARGETS",
    "ExportOptions",
    "ExportResult",
    "NotBuiltError",
    "Setting",
    "Target",
    "UnverifiedError",
    "Verification",
    "export_model",
]

_HOMES = {"Verification": "verification.verify", "export_model": "export.pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"yolox_deploy.{_HOMES[name]}"), name)
