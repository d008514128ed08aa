"""The Python packages that can carry the CUDA layer, and the choice between them."""

from __future__ import annotations

from yolox_deploy.errors import MissingPackageError, UsageError
from yolox_deploy.packages import is_installed, version_of, why_broken
from yolox_deploy.runtimes.tensorrt.bindings.cuda_python import CudaPython
from yolox_deploy.runtimes.tensorrt.bindings.pycuda import PyCuda
from yolox_deploy.runtimes.tensorrt.cuda import Cuda
from yolox_deploy.runtimes.texts import expectation

INSTALL = "pip install cuda-bindings (or pycuda, which is built against CUDA's headers)"

# In the order in which they are preferred.
BINDINGS: dict[str, type[Cuda]] = {kind.name: kind for kind in (PyCuda, CudaPython)}


def installed_bindings() -> dict[str, str]:
    """Return name and version of every binding that is installed, the preferred one first."""
    present = [kind for kind in BINDINGS.values() if _installed(kind.module)]
    return {kind.name: version_of(kind.package) for kind in present}


def choose_binding(name: str | None = None) -> type[Cuda]:
    """Return the binding called ``name``, or the first that is installed and can be imported.

    Call it only if there is a driver: without one, importing pycuda fails.

    Raises :class:`UsageError` for another name, and :class:`MissingPackageError` if the binding
    (without ``name``: every binding) is missing or cannot be imported.
    """
    if name is not None and name not in BINDINGS:
        raise UsageError(f"unknown CUDA binding {name!r}" + expectation(name, BINDINGS))
    reasons = []
    for kind in BINDINGS.values():
        if name in (None, kind.name) and _installed(kind.module):
            # For example a pycuda that was built for another version of CUDA.
            if not (broken := why_broken(kind.module)):
                return kind
            reasons.append(broken)
    wanted = name or f"a CUDA binding ({' or '.join(BINDINGS)})"
    reason = ", ".join(reasons) or f"{wanted} is not installed"
    raise MissingPackageError(f"{reason}: {INSTALL}")


def _installed(module: str) -> bool:
    try:
        return is_installed(module.rpartition(".")[0])
    except ModuleNotFoundError:
        return False
