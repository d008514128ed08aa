"""The table of targets: the formats that ``yolox-export --to`` can write.

A target is one file beside this one, and one row here.  Another package adds a row through the
entry points of the group ``yolox_deploy.targets``.  A target imports its converter when it is used,
so that this table can be read where no converter, no PyTorch and no ONNX is installed.
"""

from __future__ import annotations

from pathlib import Path

from yolox_deploy.errors import UsageError
from yolox_deploy.export.targets.base import Setting, Target
from yolox_deploy.export.targets.ncnn import NcnnTarget
from yolox_deploy.export.targets.onnx import OnnxTarget
from yolox_deploy.export.targets.openvino import OpenVINOTarget
from yolox_deploy.export.targets.tensorrt import TensorRTRTXTarget, TensorRTTarget
from yolox_deploy.registry import Registry

__all__ = ["HUB", "TARGETS", "Setting", "Target", "all_settings", "target_of"]

# The format that all others are converted from, and verified through where they cannot run.
HUB = OnnxTarget()

TARGETS: Registry[Target] = Registry(
    "target",
    "yolox_deploy.targets",
    [HUB, OpenVINOTarget(), NcnnTarget(), TensorRTTarget(), TensorRTRTXTarget()],
)


def target_of(artifact: Path) -> Target:
    """Return the target that writes files with such a name; raises :class:`UsageError`."""
    rows = [row for row in TARGETS.values() if artifact.name.endswith(row.suffix)]
    if not rows:
        raise UsageError(
            f"{artifact.name} does not have the name of an artifact: expected a name that ends "
            f"with {', '.join(row.suffix for row in TARGETS.values())}"
        )
    return max(rows, key=lambda row: len(row.suffix))


def all_settings() -> dict[str, Setting]:
    """Return the settings of all targets by name; a setting of several targets is there once."""
    found: dict[str, Setting] = {}
    for row in TARGETS.values():
        for setting in row.settings:
            found.setdefault(setting.name, setting)
    return found


def takers(setting: str) -> list[str]:
    """Return the names of the targets that take a setting."""
    return [name for name, row in TARGETS.items() if any(s.name == setting for s in row.settings)]
