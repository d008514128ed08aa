"""The thin network definition, the table of architectures, and checkpoints (needs PyTorch)."""

from yolox_deploy.models.zoo import (
    ALIASES,
    ARCHITECTURES,
    YOLOX,
    Architecture,
    architecture,
    build_network,
)

__all__ = ["ALIASES", "ARCHITECTURES", "YOLOX", "Architecture", "architecture", "build_network"]
