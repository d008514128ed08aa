"""The network definition, and reading trained checkpoints (needs PyTorch)."""

from yolox_deploy.architectures import ARCHITECTURES, Architecture, architecture
from yolox_deploy.models.network import YOLOX, build_network

__all__ = ["ARCHITECTURES", "YOLOX", "Architecture", "architecture", "build_network"]
