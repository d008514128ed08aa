"""What lies beside a TensorRT engine: its spec, and what it was built with and for.

An engine runs only on the TensorRT version and the kind of GPU it was built for, and says so in
riddles.  Its sidecar ``x.engine.json`` (``{"spec": {...}, "engine": {...}}``) lets a loader
compare before anything is deserialized.  ``"engine": null`` is for an engine that ``trtexec``
builds from an exported ONNX file: nothing is known of it, so nothing is compared.

A sidecar guards against mistakes, not against malice: an engine is code, load only what you trust.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.files import sha256_of, write_atomically
from yolox_deploy.spec import LARGEST_BATCH, ModelSpec

Flavour = Literal["tensorrt", "tensorrt-rtx"]
EnginePrecision = Literal["fp32", "fp16", "int8"]

# What --to names each flavour.
TARGET_OF: dict[str, str] = {"tensorrt": "trt", "tensorrt-rtx": "trt-rtx"}
ENGINE_SUFFIX = ".engine"
SIDECAR_SUFFIX = ".json"
# A spec of 100,000 class names stays below this.
LARGEST_SIDECAR_BYTES = 16 << 20

SHA256 = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"\d{1,5}(\.\d{1,5}){0,5}[\w.+-]{0,32}")
TARGET = re.compile(r"sm\d{2,4}")
# Hardware-compatible engines run from Ampere on ("HardwareCompatibilityLevel" in TensorRT's API).
HARDWARE_COMPATIBLE_FROM = (8, 0)


@dataclass(frozen=True)
class EngineRecord:
    """What an engine was built with and for.

    ``version`` is the builder module's ``__version__``.  ``gpu``, ``compute_capability`` (major,
    minor) and ``driver`` (the newest CUDA it serves, "13.0") are those of the machine that built
    it, ``None`` where it had no GPU; ``targets`` ("sm86", ...) are what an engine of TensorRT-RTX
    was built for, empty where none were asked for (then it is for Ampere and newer GPUs).
    ``batch`` is the smallest, the
    preferred and the largest number of pictures of one call.  ``executed`` says whether the engine
    itself has run and was verified; where it is ``False`` only the ONNX file it comes from was.

    Raises :class:`UsageError` for a value that makes no sense.
    """

    flavour: Flavour
    version: str
    precision: EnginePrecision
    batch: tuple[int, int, int]
    onnx_sha256: str
    engine_sha256: str
    engine_bytes: int
    executed: bool
    gpu: str | None = None
    compute_capability: tuple[int, int] | None = None
    driver: str | None = None
    targets: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        for name, good in _CHECKS.items():
            if not good(getattr(self, name)):
                raise UsageError(f"engine record: {name} cannot be {getattr(self, name)!r:.60}")

    def describe(self) -> list[tuple[str, str]]:
        """Return the record as rows of a label and a text, for a person to read."""
        built_on = _gpu(self.gpu, self.compute_capability) if self.gpu else "a machine with no GPU"
        kinds = {
            "hardware-compatible": self.hardware_compatible,
            "version-compatible": self.version_compatible,
        }
        least, preferred, most = self.batch
        words = [*self.targets, *(word for word, so in kinds.items() if so)]
        if not words:
            words = ["Ampere and newer" if self.flavour == "tensorrt-rtx" else "that GPU"]
        return [
            ("engine", f"{self.flavour} {self.version}, {self.precision}, built on {built_on}"),
            ("runs on", ", ".join(words)),
            ("pictures a call", f"{least} to {most}, {preferred} preferred"),
            ("executed", "yes" if self.executed else "no, engine not executed"),
            ("ONNX", f"sha256 {self.onnx_sha256}"),
        ]


def _is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_text(value: object, longest: int = 200) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _is_batch(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(_is_int(v, 1, LARGEST_BATCH) for v in value)
        and value == tuple(sorted(value))
    )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "flavour": lambda v: v in get_args(Flavour),
    "version": lambda v: _matches(VERSION, v),
    "precision": lambda v: v in get_args(EnginePrecision),
    "batch": _is_batch,
    "onnx_sha256": lambda v: _matches(SHA256, v),
    "engine_sha256": lambda v: _matches(SHA256, v),
    "engine_bytes": lambda v: _is_int(v, 1, 1 << 50),
    "executed": lambda v: type(v) is bool,
    "gpu": lambda v: v is None or _is_text(v),
    "compute_capability": lambda v: (
        v is None or (isinstance(v, tuple) and len(v) == 2 and all(_is_int(x, 0, 999) for x in v))
    ),
    "driver": lambda v: v is None or _is_text(v, 60),
    "targets": lambda v: (
        isinstance(v, tuple) and len(v) <= 32 and all(_matches(TARGET, x) for x in v)
    ),
    "hardware_compatible": lambda v: type(v) is bool,
    "version_compatible": lambda v: type(v) is bool,
}


class Sidecar(NamedTuple):
    """What a sidecar holds; ``engine`` is ``None`` for an engine nothing is known of."""

    spec: ModelSpec
    engine: EngineRecord | None


class Machine(NamedTuple):
    """What an engine is to run on; GPU and compute capability are ``None`` where there is none."""

    flavour: str
    version: str
    gpu: str | None = None
    compute_capability: tuple[int, int] | None = None


def sidecar_path(engine: Path) -> Path:
    """Return ``x.engine.json`` for ``x.engine``."""
    return engine.with_name(engine.name + SIDECAR_SUFFIX)


def flavour_of(engine: Path) -> Flavour:
    """Return whose engine a file is: as its sidecar says, else as its name (``.rtx.engine``)."""
    with contextlib.suppress(ArtifactError):
        record = read_sidecar(engine).engine
        if record is not None:
            return record.flavour
    return _flavour_by_name(engine)


def _flavour_by_name(engine: Path) -> Flavour:
    return "tensorrt-rtx" if engine.name.lower().endswith(".rtx" + ENGINE_SUFFIX) else "tensorrt"


def _target_by_name(engine: Path) -> str:
    return TARGET_OF[_flavour_by_name(engine)]


def write_sidecar(engine: Path, spec: ModelSpec, record: EngineRecord | None) -> Path:
    """Write the sidecar of ``engine`` in one step and return its path.

    Raises :class:`~yolox_deploy.errors.OutputError` where it cannot be written.
    """
    path = sidecar_path(engine)
    content = {
        "spec": json.loads(spec.to_json()),
        "engine": None if record is None else asdict(record),
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_sidecar(engine: Path) -> Sidecar:
    """Return what lies beside ``engine``; the engine itself is not looked at.

    Raises :class:`ArtifactError` where the sidecar is missing or damaged.
    """
    path = sidecar_path(engine)
    if not path.is_file():
        raise ArtifactError(
            f"{engine} has no {path.name} beside it, so neither its input nor the TensorRT and GPU "
            "it was built for are known: copy that file along, or rebuild the engine with "
            f"yolox-export --model CHECKPOINT --to {_target_by_name(engine)}"
        )
    try:
        if path.stat().st_size > LARGEST_SIDECAR_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = json.loads(path.read_bytes())
        spec, engine_part = content["spec"], content["engine"]
        record = None if engine_part is None else _record(engine_part)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: the engine's sidecar is damaged ({type(error).__name__}: {error!s:.120}); "
            "copy it again, or rebuild the engine with yolox-export --model CHECKPOINT "
            f"--to {_target_by_name(engine)}"
        ) from error
    return Sidecar(ModelSpec.from_json(json.dumps(spec), str(path)), record)


def _record(values: Any) -> EngineRecord:
    if not isinstance(values, Mapping):
        raise TypeError(f"expected an object, got {values!r:.60}")
    known = {f.name for f in fields(EngineRecord)}
    values = {key: value for key, value in values.items() if key in known}
    for key in ("batch", "compute_capability", "targets"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    return EngineRecord(**values)


def check_content(engine: Path, record: EngineRecord) -> None:
    """Raise :class:`ArtifactError` unless ``engine`` is the file, whole, that ``record`` is of."""
    size = engine.stat().st_size
    if size < record.engine_bytes:
        raise ArtifactError(
            f"{engine} is truncated: {size} of {record.engine_bytes} bytes; copy it again"
        )
    if size != record.engine_bytes or sha256_of(engine) != record.engine_sha256:
        raise ArtifactError(
            f"{engine} is not the engine that {sidecar_path(engine).name} describes (its content "
            "differs): copy both files again from the same export"
        )


def refusal(record: EngineRecord, machine: Machine) -> str | None:
    """Return in one sentence why an engine cannot run on ``machine``, ``None`` where it can."""
    if record.flavour != machine.flavour:
        return f"it was built by {record.flavour} and this is {machine.flavour}"
    if not _versions_agree(record, machine.version):
        return (
            f"it was built by {record.flavour} {record.version} and this is {machine.version}"
            + (
                " (a version-compatible engine runs on its builder's version or a newer one)"
                if record.version_compatible
                else ""
            )
        )
    capability = machine.compute_capability
    if capability is None:
        return None
    here = f"this is {_gpu(machine.gpu, capability)}"
    if record.targets:
        target = target_of(capability)
        if target not in record.targets:
            return f"it was built for {', '.join(record.targets)} and {here}, {target}"
        return None
    # https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    if record.hardware_compatible or record.flavour == "tensorrt-rtx":
        if capability < HARDWARE_COMPATIBLE_FROM:
            return f"it was built for GPUs of compute capability 8.0 (Ampere) and newer and {here}"
        return None
    if record.compute_capability not in (None, capability):
        return f"it was built for {_gpu(record.gpu, record.compute_capability)} and {here}"
    return None


def caution(record: EngineRecord, machine: Machine) -> str | None:
    """Return in one sentence what may make a runnable engine slow or wrong, or ``None``."""
    portable = record.flavour == "tensorrt-rtx" or record.hardware_compatible
    if portable or None in (record.gpu, machine.gpu) or record.gpu == machine.gpu:
        return None
    return (
        f"it was built on {record.gpu} and this is {machine.gpu}, another GPU of the same compute "
        "capability: TensorRT may run it slower than an engine built here"
    )


def _versions_agree(record: EngineRecord, version: str) -> bool:
    """Whether an engine may run: the same version, or compatible and the runtime is not older.

    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html
    """
    if record.version == version or not record.version_compatible:
        return record.version == version
    return _numbers(version) >= _numbers(record.version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])


def _gpu(name: str | None, capability: tuple[int, int] | None) -> str:
    known = f"compute capability {capability[0]}.{capability[1]}" if capability else ""
    return f"{name} ({known})" if name and known else name or f"a GPU of {known}"


def target_of(capability: tuple[int, int]) -> str:
    """Return the name that ``--targets`` has for a compute capability: "sm86" for (8, 6)."""
    return f"sm{capability[0]}{capability[1]}"


def rebuild_command(
    spec: ModelSpec, record: EngineRecord | None, machine: Machine | None = None
) -> str:
    """Return the command that builds such an engine for ``machine`` (default: as it was built)."""
    flavour = machine.flavour if machine else record.flavour if record else "tensorrt"
    words = ["yolox-export --model CHECKPOINT --to", TARGET_OF[flavour]]
    # INT8 is said by the graph, not by an option.
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


def finish_command(engine: Path) -> str:
    """Return the command that verifies an engine which has never run."""
    return f"yolox-export --verify-artifact {shlex.quote(os.fspath(engine))} --model CHECKPOINT"
