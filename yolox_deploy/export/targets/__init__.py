"""The table of targets: the formats that ``yolox-export --to`` can write.

A target is one file beside this one, and one row here.  Another package adds a row through the
entry points of the group ``yolox_deploy.targets``.  A target imports its converter when it is used,
so that this table can be read where no converter, no PyTorch and no ONNX is installed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from yolox_deploy.errors import UsageError
from yolox_deploy.export.targets.base import Setting, Target
from yolox_deploy.export.targets.ncnn import NcnnTarget
from yolox_deploy.export.targets.onnx import OnnxTarget
from yolox_deploy.export.targets.openvino import OpenVINOTarget
from yolox_deploy.export.targets.tensorrt import TensorRTRTXTarget, TensorRTTarget
from yolox_deploy.files import full_disk_reported, put, reported_as_output_error, workplace
from yolox_deploy.registry import Registry
from yolox_deploy.spec import ModelSpec

__all__ = ["HUB", "TARGETS", "Setting", "Target", "all_settings", "rewrite", "target_of"]

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


def rewrite(artifact: Path, spec: ModelSpec) -> None:
    """Put the spec into a copy of the artifact's files, and rename the copies over them."""
    row = target_of(artifact)
    files = row.files(artifact)
    size = sum(file.stat().st_size for file in files)
    with (
        workplace(artifact.parent) as place,
        full_disk_reported(artifact.parent, size),
        reported_as_output_error(artifact),
    ):
        for file in files:
            shutil.copy2(file, place)
        main = place / artifact.name
        row.embed(main, spec)
        for file in row.files(main):
            put(file, artifact.with_name(file.name))


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
