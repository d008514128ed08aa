"""The sidecar of a TensorRT engine: the model's spec, and what the engine was built with and for.

An engine runs only on the version of TensorRT and the kind of GPU that it was built for, and an
engine file cannot be asked for them.  So ``x.engine`` has a file ``x.engine.json`` beside it
(``{"spec": {...}, "engine": {...}}``), which is compared with the machine before the engine is
loaded.  ``"engine": null`` stands for an engine that ``trtexec`` builds from an exported ONNX
file: nothing is known of that engine, so nothing is compared.

A sidecar protects against mistakes, not against attacks.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.files import sha256_of, write_atomically
from yolox_deploy.spec import LARGEST_BATCH, ModelSpec

Flavour = Literal["tensorrt", "tensorrt-rtx"]
EnginePrecision = Literal["fp32", "fp16", "int8"]

# The name of each flavour after ``yolox-export --to``.
TARGET_OF: dict[str, str] = {"tensorrt": "trt", "tensorrt-rtx": "trt-rtx"}
ENGINE_SUFFIX = ".engine"
SIDECAR_SUFFIX = ".json"
# Enough for a spec with 100,000 class names.
LARGEST_SIDECAR_BYTES = 16 << 20

SHA256 = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"\d{1,5}(\.\d{1,5}){0,5}[\w.+-]{0,32}")
TARGET = re.compile(r"sm\d{2,4}")


@dataclass(frozen=True)
class EngineRecord:
    """What an engine was built with and for.

    ``version`` is the ``__version__`` of the module that built the engine.  ``gpu``,
    ``compute_capability`` (major, minor) and ``driver`` (the newest CUDA that the driver supports,
    "13.0") describe the machine that built the engine; they are ``None`` if it had no GPU.
    ``targets`` ("sm86", ...) are the GPUs that an engine of TensorRT-RTX was built for; without
    targets it is for Ampere and newer GPUs.  ``batch`` is the smallest, the preferred and the
    largest number of pictures per inference call.  ``executed`` is whether the engine itself was
    run and verified; if not, only the ONNX file that it was built from was verified.

    Raises :class:`UsageError` for a value that is out of range or of the wrong kind.
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
        """Return the record as rows of label and text, for display."""
        builder = (
            gpu_text(self.gpu, self.compute_capability) if self.gpu else "a machine without a GPU"
        )
        least, preferred, most = self.batch
        words = list(self.targets)
        words += ["hardware-compatible"] if self.hardware_compatible else []
        words += ["version-compatible"] if self.version_compatible else []
        if not words:
            words = ["Ampere and newer" if self.flavour == "tensorrt-rtx" else "that GPU"]
        return [
            ("engine", f"{self.flavour} {self.version}, {self.precision}, built on {builder}"),
            ("runs on", ", ".join(words)),
            ("pictures per call", f"{least} to {most}, {preferred} preferred"),
            ("executed", "yes" if self.executed else "no, engine not executed"),
            ("ONNX", f"sha256 {self.onnx_sha256}"),
        ]


def _is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _are_ints(value: object, count: int, low: int, high: int) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == count
        and all(_is_int(v, low, high) for v in value)
    )


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "flavour": lambda v: v in get_args(Flavour),
    "version": lambda v: _matches(VERSION, v),
    "precision": lambda v: v in get_args(EnginePrecision),
    "batch": lambda v: _are_ints(v, 3, 1, LARGEST_BATCH) and v == tuple(sorted(v)),
    "onnx_sha256": lambda v: _matches(SHA256, v),
    "engine_sha256": lambda v: _matches(SHA256, v),
    "engine_bytes": lambda v: _is_int(v, 1, 1 << 50),
    "executed": lambda v: type(v) is bool,
    "gpu": lambda v: v is None or _is_text(v, 200),
    "compute_capability": lambda v: v is None or _are_ints(v, 2, 0, 999),
    "driver": lambda v: v is None or _is_text(v, 60),
    "targets": lambda v: (
        isinstance(v, tuple) and len(v) <= 32 and all(_matches(TARGET, x) for x in v)
    ),
    "hardware_compatible": lambda v: type(v) is bool,
    "version_compatible": lambda v: type(v) is bool,
}


class Sidecar(NamedTuple):
    """The content of a sidecar; ``engine`` is ``None`` if nothing is known of the engine."""

    spec: ModelSpec
    engine: EngineRecord | None


def sidecar_path(engine: Path) -> Path:
    """Return ``x.engine.json`` for ``x.engine``."""
    return engine.with_name(engine.name + SIDECAR_SUFFIX)


def flavour_of(engine: Path) -> Flavour:
    """Return which TensorRT built an engine, by its sidecar, else by its name (``.rtx.engine``)."""
    with contextlib.suppress(ArtifactError):
        record = read_sidecar(engine).engine
        if record is not None:
            return record.flavour
    return _flavour_by_name(engine)


def is_tensorrt(engine: Path) -> bool:
    """Return whether TensorRT built the engine."""
    return flavour_of(engine) == "tensorrt"


def is_tensorrt_rtx(engine: Path) -> bool:
    """Return whether TensorRT-RTX built the engine."""
    return flavour_of(engine) == "tensorrt-rtx"


def _flavour_by_name(engine: Path) -> Flavour:
    return "tensorrt-rtx" if engine.name.lower().endswith(".rtx" + ENGINE_SUFFIX) else "tensorrt"


def write_sidecar(engine: Path, spec: ModelSpec, record: EngineRecord | None) -> Path:
    """Write the sidecar of ``engine`` in one step and return its path.

    Raises :class:`~yolox_deploy.errors.OutputError` if the file cannot be written.
    """
    path = sidecar_path(engine)
    content = {"spec": json.loads(spec.to_json()), "engine": record and asdict(record)}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_sidecar(engine: Path) -> Sidecar:
    """Return the sidecar of ``engine``, without reading the engine.

    Raises :class:`ArtifactError` if the sidecar is missing or damaged.
    """
    path, target = sidecar_path(engine), TARGET_OF[_flavour_by_name(engine)]
    advice = f", or rebuild the engine with yolox-export --model CHECKPOINT --to {target}"
    if not path.is_file():
        raise ArtifactError(
            f"{engine} has no {path.name} beside it, which states the input size, the class names, "
            f"and the TensorRT and GPU that the engine was built for: copy that file, too{advice}"
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
            f"copy it again{advice}"
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
    """Raise :class:`ArtifactError` unless ``engine`` is the complete file that was recorded."""
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


def gpu_text(name: str | None, capability: tuple[int, int] | None) -> str:
    """Return a GPU in words; its name or its compute capability may be unknown."""
    known = f"compute capability {capability[0]}.{capability[1]}" if capability else ""
    return f"{name} ({known})" if name and known else name or f"a GPU of {known}"
