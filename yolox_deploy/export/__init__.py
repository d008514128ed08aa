"""Checkpoint to ONNX, ONNX to the other formats, and verification (needs PyTorch and ONNX)."""

from yolox_deploy.export.compare import TOLERANCES, Comparison, Tolerance
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
    "TOLERANCES",
    "Comparison",
    "EngineNotBuiltError",
    "EngineSettings",
    "ExportOptions",
    "ExportResult",
    "Target",
    "Tolerance",
    "UnverifiedError",
    "Verification",
    "export_model",
    "target",
]
