"""Which machine an engine fits, and the commands that build it again or verify it.

TensorRT itself reports a mismatch late and in its own terms; this module compares what the sidecar
records with this machine before the engine is loaded.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yolox_deploy.runtimes.tensorrt.sidecar import TARGET_OF, EngineRecord, gpu_text
from yolox_deploy.spec import ModelSpec

# Hardware-compatible engines run from Ampere on ("HardwareCompatibilityLevel" in TensorRT's API).
HARDWARE_COMPATIBLE_FROM = (8, 0)


class Machine(NamedTuple):
    """The TensorRT and the GPU that an engine shall run on; what is not known is ``None``."""

    flavour: str
    version: str
    gpu: str | None = None
    compute_capability: tuple[int, int] | None = None


def refusal(record: EngineRecord, machine: Machine) -> str | None:
    """Return one sentence on why an engine cannot run on ``machine``, ``None`` if it can."""
    if record.flavour != machine.flavour:
        return f"it was built by {record.flavour} and this is {machine.flavour}"
    if not _versions_agree(record, machine.version):
        reason = f"it was built by {record.flavour} {record.version} and this is {machine.version}"
        if record.version_compatible:
            reason += " (a version-compatible engine runs on its builder's version or a newer one)"
        return reason
    if record.targets or record.hardware_compatible or record.flavour == "tensorrt-rtx":
        return gpu_refusal(record.targets, machine)
    built_for, found = record.compute_capability, machine.compute_capability
    if None in (built_for, found) or built_for == found:
        return None
    return (
        f"it was built for {gpu_text(record.gpu, built_for)} and this is "
        f"{gpu_text(machine.gpu, found)}"
    )


def gpu_refusal(targets: Sequence[str], machine: Machine) -> str | None:
    """Return one sentence on why an engine cannot run on the GPU of ``machine``, else ``None``.

    ``targets`` are the GPUs that the engine was built for ("sm86", ...); if there are none, it was
    built for Ampere and newer ones.
    """
    capability = machine.compute_capability
    if capability is None:
        return None
    here = f"this is {gpu_text(machine.gpu, capability)}"
    if targets:
        target = target_of(capability)
        if target not in targets:
            return f"it was built for {', '.join(targets)} and {here}, {target}"
        return None
    # https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    if capability < HARDWARE_COMPATIBLE_FROM:
        return f"it was built for GPUs of compute capability 8.0 (Ampere) and newer and {here}"
    return None


def caution(record: EngineRecord, machine: Machine) -> str | None:
    """Return one sentence on why an engine may be slow on ``machine``, or ``None``."""
    portable = record.flavour == "tensorrt-rtx" or record.hardware_compatible
    if portable or None in (record.gpu, machine.gpu) or record.gpu == machine.gpu:
        return None
    return (
        f"it was built on {record.gpu} and this is {machine.gpu}, another GPU of the same compute "
        "capability: TensorRT may run it slower than an engine built here"
    )


def _versions_agree(record: EngineRecord, version: str) -> bool:
    """Return whether an engine may run: same version, or version-compatible and not older.

    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html
    """
    if record.version == version or not record.version_compatible:
        return record.version == version
    return _numbers(version) >= _numbers(record.version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])


def target_of(capability: tuple[int, int]) -> str:
    """Return a compute capability as ``--targets`` takes it: "sm86" for (8, 6)."""
    return f"sm{capability[0]}{capability[1]}"


def rebuild_command(
    spec: ModelSpec, record: EngineRecord | None, machine: Machine | None = None
) -> str:
    """Return the command that builds the engine again, for ``machine`` if there is one."""
    flavour = machine.flavour if machine else record.flavour if record else "tensorrt"
    words = ["yolox-export --model CHECKPOINT --to", TARGET_OF[flavour]]
    # INT8 needs no option: the graph is quantized.
    if (record.precision if record else spec.precision) == "fp16":
        words.append("--fp16")
    words.append(f"--imgsz {spec.height} {spec.width}")
    if record is not None and record.batch[0] != record.batch[2]:
        words.append(f"--dynamic --batch {','.join(map(str, record.batch))}")
    elif spec.batch not in (None, 1):
        words.append(f"--batch {spec.batch}")
    if spec.output != "raw":
        words.append("--decode")
    if flavour == "tensorrt-rtx" and machine is not None and machine.compute_capability:
        words.append(f"--targets {target_of(machine.compute_capability)}")
    elif flavour == "tensorrt-rtx" and record is not None and record.targets:
        words.append(f"--targets {','.join(record.targets)}")
    if flavour == "tensorrt" and record is not None:
        words += ["--hardware-compatible"] if record.hardware_compatible else []
        words += ["--version-compatible"] if record.version_compatible else []
    return " ".join(words)


def finish_command(engine: Path, spec: ModelSpec) -> str:
    """Return the command that verifies an engine by running it."""
    path = shlex.quote(os.fspath(engine))
    if spec.evidence is not None:
        return f"yolox-verify {path} --record"
    return f"yolox-export --verify-artifact {path} --model CHECKPOINT"
