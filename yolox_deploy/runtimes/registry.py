"""The table of backends: what each opens, what it needs, and whether it can run here.

The table is data; an engine is imported only when a backend is chosen.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yolox_deploy.errors import DeviceError, MissingPackageError, UsageError, suggest
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.runtimes.tensorrt.sidecar import ENGINE_SUFFIX, flavour_of

if TYPE_CHECKING:
    from yolox_deploy.runtimes.base import Runtime


class Availability(NamedTuple):
    """Whether a backend can run here, its engine's version, and a sentence why it cannot."""

    ok: bool
    version: str | None
    reason: str


@dataclass(frozen=True)
class Backend:
    """One row: the engine's package and extra, and the suffixes of the files it opens.

    ``gpu`` says that it runs on NVIDIA's GPUs only.
    """

    name: str
    module: str
    runtime: str
    package: str
    extra: str
    suffixes: tuple[str, ...]
    gpu: bool = False

    @property
    def install(self) -> str:
        """The command that installs the engine."""
        return f'pip install "yolox-deploy[{self.extra}]"'

    def availability(self, *, try_import: bool = False) -> Availability:
        """Say whether the backend can run here; ``try_import`` also loads its engine."""
        if importlib.util.find_spec(self.package) is None:
            return Availability(
                False, None, f"the package {self.package} is not installed: {self.install}"
            )
        try:
            version = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        # First, because some engines crash without a driver.
        missing = why_no_gpu() if self.gpu else ""
        if missing:
            return Availability(False, version, missing)
        if try_import:
            try:
                importlib.import_module(self.package)
            except Exception as error:
                reason = " ".join(str(error).split())
                return Availability(
                    False,
                    version,
                    f"{self.package} {version} is installed but cannot be imported "
                    f"({type(error).__name__}: {reason}): reinstall it, {self.install}",
                )
        return Availability(True, version, "")

    def runtime_class(self) -> type[Runtime]:
        """Import the engine and return the runtime.

        Raises :class:`MissingPackageError` where it is not installed, :class:`DeviceError` where
        there is no GPU for it.
        """
        available = self.availability(try_import=True)
        if not available.ok:
            lacking = DeviceError if self.gpu and available.version else MissingPackageError
            raise lacking(f"backend {self.name} cannot run here: {available.reason}")
        runtime: type[Runtime] = getattr(importlib.import_module(self.module), self.runtime)
        return runtime


# In the order in which backend="auto" prefers them.
BACKENDS: dict[str, Backend] = {
    row.name: row
    for row in (
        Backend(
            "onnxruntime",
            "yolox_deploy.runtimes.onnxruntime",
            "OnnxRuntime",
            "onnxruntime",
            "onnxruntime",
            (".onnx",),
        ),
        Backend(
            "openvino",
            "yolox_deploy.runtimes.openvino",
            "OpenVINORuntime",
            "openvino",
            "openvino",
            (".xml", ".onnx"),
        ),
        Backend("ncnn", "yolox_deploy.runtimes.ncnn", "NcnnRuntime", "ncnn", "ncnn", (".param",)),
        Backend(
            "torch",
            "yolox_deploy.runtimes.torch",
            "TorchRuntime",
            "torch",
            "export",
            (".pth", ".pt"),
        ),
        Backend(
            "tensorrt",
            "yolox_deploy.runtimes.tensorrt.runtime",
            "TensorRTRuntime",
            "tensorrt",
            "tensorrt",
            (ENGINE_SUFFIX,),
            gpu=True,
        ),
        Backend(
            "tensorrt-rtx",
            "yolox_deploy.runtimes.tensorrt.runtime",
            "TensorRTRTXRuntime",
            "tensorrt_rtx",
            "tensorrt-rtx",
            (ENGINE_SUFFIX,),
            gpu=True,
        ),
    )
}
CHECKPOINT_SUFFIXES = BACKENDS["torch"].suffixes


def backend(name: str) -> Backend:
    """Return the backend called ``name``; raises :class:`UsageError` for another word."""
    if name not in BACKENDS:
        raise UsageError(
            f"unknown backend {name!r}: expected auto, {', '.join(BACKENDS)}"
            + suggest(name, BACKENDS)
        )
    return BACKENDS[name]


def backend_for(path: Path, name: str = "auto") -> Backend:
    """Return the backend that shall open the file ``path``.

    ``auto`` is the first one that opens such files and is installed; of the two that open engines,
    the one whose engine it is.  Raises :class:`UsageError`
    where the suffix is not the backend's or nobody's, :class:`MissingPackageError` where none of
    those that could open it is installed.
    """
    suffix = path.suffix.lower()
    able = [row for row in BACKENDS.values() if suffix in row.suffixes]
    if name != "auto":
        chosen = backend(name)
        if chosen not in able:
            raise UsageError(
                f"backend {name} opens {' and '.join(chosen.suffixes)} files, {path.name} is not "
                "one" + (f"; use backend {able[0].name}" if able else "")
            )
        return chosen
    if not able:
        known = sorted({s for row in BACKENDS.values() for s in row.suffixes})
        raise UsageError(
            f"{path}: no backend opens {suffix or 'files without a suffix'}: expected "
            f"{', '.join(known)}"
        )
    if suffix == ENGINE_SUFFIX:
        return BACKENDS[flavour_of(path)]
    for row in able:
        if row.availability().ok:
            return row
    raise MissingPackageError(f"{path.name} cannot be opened here: {able[0].availability().reason}")
