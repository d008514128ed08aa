"""Serialized engines of TensorRT and TensorRT-RTX."""

from yolox_deploy.export.targets.tensorrt.settings import EngineSettings
from yolox_deploy.export.targets.tensorrt.target import TensorRTRTXTarget, TensorRTTarget

__all__ = ["EngineSettings", "TensorRTRTXTarget", "TensorRTTarget"]
