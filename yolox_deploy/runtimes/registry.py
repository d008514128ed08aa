"""The table of backends: what each opens, what it needs, and whether it can run here.

The rows are data: an engine is imported only when its backend is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from yolox_deploy.errors import DeviceError, MissingPackageError, UsageError
from yolox_deploy.packages import install_line, is_installed, reinstall, version_of, why_broken
from yolox_deploy.registry import Registry, resolve
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.content import TABLES
from yolox_deploy.runtimes.gpu import why_no_gpu

# Files of weights that were trained, not exported.
CHECKPOINT_SUFFIXES = (".pth", ".pt")


class Availability(NamedTuple):
    """Whether a backend can run here, its engine's version, and a sentence on why it cannot."""

    ok: bool
    version: str | None
    reason: str


@dataclass(frozen=True)
class Backend:
    """One row of the table.

    ``runtime`` is the class that runs the engine, as ``"module:Class"``.  ``package`` is the
    top-level package that the engine is imported as, and ``extra`` the extra of yolox-deploy that
    installs it; a backend of another package has none.  ``suffixes`` are those of the files that
    the backend opens.  ``gpu`` is whether it needs an NVIDIA GPU.  ``opens`` is for backends that
    share a suffix and cannot open each other's files: a function, as ``"module:function"``, that
    takes a path and returns whether this backend's engine wrote the file.

    Two fields are by suffix.  ``stored`` names the function that reads the spec and the hashed
    parts of such a file without the engine, as ``"module:function"``; it takes a path, returns
    :class:`~yolox_deploy.runtimes.content.Stored`, and raises ``ValueError`` for a damaged file.
    ``beside`` names what an artifact may consist of beside its main file, with ``{name}`` and
    ``{stem}`` of the main file.
    """

    name: str
    description: str
    runtime: str
    package: str
    suffixes: tuple[str, ...]
    extra: str | None = None
    gpu: bool = False
    opens: str | None = None
    stored: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def install(self) -> str:
        """The command that installs the engine."""
        return install_line(self.extra) if self.extra else f"pip install {self.package}"

    def availability(self, *, try_import: bool = False) -> Availability:
        """Return whether the backend can run here; ``try_import`` also imports its engine."""
        if not is_installed(self.package):
            reason = f"the package {self.package} is not installed: {self.install}"
            return Availability(False, None, reason)
        version = version_of(self.package)
        # Before the import, because some engines crash without a driver.
        if missing := self.gpu and why_no_gpu():
            return Availability(False, version, missing)
        if try_import and (broken := why_broken(self.package)):
            return Availability(False, version, f"{broken}: {reinstall(self.package)}")
        return Availability(True, version, "")

    def runtime_class(self) -> type[Runtime]:
        """Import the engine and return the runtime.

        Raises :class:`MissingPackageError` if the engine is not installed, and
        :class:`DeviceError` if it needs a GPU and there is none.
        """
        available = self.availability(try_import=True)
        if not available.ok:
            lacking = DeviceError if self.gpu and available.version else MissingPackageError
            raise lacking(f"backend {self.name} cannot run here: {available.reason}")
        runtime: type[Runtime] = resolve(self.runtime)
        return runtime


CONTENT = "yolox_deploy.runtimes.content"
ONNX_STORED = {".onnx": f"{CONTENT}:onnx_stored"}
ONNX_BESIDE = {".onnx": ("{name}.data", "{name}_data")}


# In the order in which backend="auto" prefers them.
BACKENDS: Registry[Backend] = Registry(
    "backend",
    "yolox_deploy.backends",
    [
        Backend(
            "onnxruntime",
            "ONNX files on ONNX Runtime, on the CPU or an NVIDIA GPU",
            "yolox_deploy.runtimes.onnxruntime:OnnxRuntime",
            package="onnxruntime",
            suffixes=(".onnx",),
            extra="onnxruntime",
            stored=ONNX_STORED,
            beside=ONNX_BESIDE,
        ),
        Backend(
            "openvino",
            "OpenVINO and ONNX files on OpenVINO, on the CPU or an Intel GPU or NPU",
            "yolox_deploy.runtimes.openvino:OpenVINORuntime",
            package="openvino",
            suffixes=(".xml", ".onnx"),
            extra="openvino",
            stored={".xml": f"{CONTENT}:openvino_stored", **ONNX_STORED},
            beside={".xml": ("{stem}.bin",), **ONNX_BESIDE},
        ),
        Backend(
            "ncnn",
            "NCNN files on ncnn, on the CPU; small, for ARM boards and phones",
            "yolox_deploy.runtimes.ncnn:NcnnRuntime",
            package="ncnn",
            suffixes=(".param",),
            extra="ncnn",
            stored={".param": f"{CONTENT}:ncnn_stored"},
            beside={".param": ("{stem}.bin", "{stem}.json")},
        ),
        Backend(
            "torch",
            "checkpoints on PyTorch, on the CPU, an NVIDIA GPU or an Apple GPU",
            "yolox_deploy.runtimes.torch:TorchRuntime",
            package="torch",
            suffixes=CHECKPOINT_SUFFIXES,
            extra="export",
        ),
        Backend(
            "tensorrt",
            "engines on TensorRT, on an NVIDIA GPU",
            "yolox_deploy.runtimes.tensorrt.runtime:TensorRTRuntime",
            package="tensorrt",
            suffixes=(".engine",),
            extra="tensorrt",
            gpu=True,
            opens="yolox_deploy.runtimes.tensorrt.sidecar:is_tensorrt",
            beside={".engine": ("{name}.json",)},
        ),
        Backend(
            "tensorrt-rtx",
            "engines on TensorRT for RTX, on an NVIDIA GPU from Ampere on",
            "yolox_deploy.runtimes.tensorrt.runtime:TensorRTRTXRuntime",
            package="tensorrt_rtx",
            suffixes=(".engine",),
            extra="tensorrt-rtx",
            gpu=True,
            opens="yolox_deploy.runtimes.tensorrt.sidecar:is_tensorrt_rtx",
            beside={".engine": ("{name}.json",)},
        ),
    ],
)
# So that files are compared with their hashes, whichever backend opens them.
TABLES.append(BACKENDS)


def files_of(model: Path) -> list[Path]:
    """Return every file that a model may consist of, the main file first."""
    suffix = model.suffix.lower()
    texts = [text for row in BACKENDS.values() for text in row.beside.get(suffix, ())]
    names = dict.fromkeys(text.format(name=model.name, stem=model.stem) for text in texts)
    return [model, *map(model.with_name, names)]


def main_file_of(part: Path) -> Path | None:
    """Return the main file of the model that the file ``part`` belongs to, if it is there."""
    suffixes = {suffix for row in BACKENDS.values() for suffix in row.beside}
    mains = [part.with_suffix(suffix) for suffix in (*suffixes, "")]
    return next((main for main in mains if part in files_of(main)[1:] and main.is_file()), None)


def backend(name: str) -> Backend:
    """Return the backend called ``name``; raises :class:`UsageError` for any other name."""
    return BACKENDS.choose(name, "auto")


def backend_for(path: Path, name: str = "auto") -> Backend:
    """Return the backend that opens the file ``path``.

    ``auto`` is the backend whose engine wrote the file, if that can be told, else the first one
    that opens files of this suffix and is installed.

    Raises :class:`UsageError` if the suffix is not one of the backend's, or no backend has it, and
    :class:`MissingPackageError` if no backend that could open the file is installed.
    """
    suffix = path.suffix.lower()
    able = [row for row in BACKENDS.values() if suffix in row.suffixes]
    if not able and suffix and (main := main_file_of(path)):
        raise UsageError(f"{path} is one file of a model of several: give {main}")
    if name != "auto":
        chosen = backend(name)
        if chosen not in able:
            raise UsageError(
                f"backend {name} opens {' and '.join(chosen.suffixes)} files, not {path.name}"
                + (f"; use backend {able[0].name}" if able else "")
            )
        return chosen
    if not able:
        known = sorted({s for row in BACKENDS.values() for s in row.suffixes})
        raise UsageError(
            f"{path}: no backend opens {suffix or 'files without a suffix'}: expected "
            f"{', '.join(known)}"
        )
    for row in able:
        if row.opens is not None and resolve(row.opens)(path):
            return row
    able_by_suffix = [row for row in able if row.opens is None]
    if not able_by_suffix:
        raise UsageError(
            f"{path}: neither its content nor what lies beside it tells which backend opens it: "
            f"choose backend {' or '.join(row.name for row in able)}"
        )
    for row in able_by_suffix:
        if row.availability().ok:
            return row
    reason = able_by_suffix[0].availability().reason
    raise MissingPackageError(f"{path.name} cannot be opened here: {reason}")
