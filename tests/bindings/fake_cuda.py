"""Put the fake driver in the place of the real one, behind both Python bindings.

``CudaPythonModule`` is made of the real ``cuda.bindings.driver``: its names, signatures and types.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

from fake_driver import FakeDriver, FakeLibrary, RefusedError
from fake_pycuda import PyCudaModule

# What the real functions return besides their status.
RESULTS = {
    "cuDeviceGet": "CUdevice",
    "cuDevicePrimaryCtxRetain": "CUcontext",
    "cuCtxPopCurrent": "CUcontext",
    "cuMemAlloc": "CUdeviceptr",
    "cuStreamCreate": "CUstream",
    "cuEventCreate": "CUevent",
    "cuStreamEndCapture": "CUgraph",
    "cuGraphInstantiate": "CUgraphExec",
}


class CudaPythonModule:
    """``cuda.bindings.driver`` with its real signatures and types, on a :class:`FakeDriver`."""

    def __init__(self, driver: FakeDriver, real: Any) -> None:
        self._driver, self._real = driver, real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not name.startswith("cu") or isinstance(real, type):
            return real
        function = getattr(self._driver, name)
        status = self._real.CUresult

        def answer(*arguments: Any) -> tuple[Any, ...]:
            try:
                plain = [a if isinstance(a, (int, float)) else int(a) for a in arguments]
                value = function(*plain)
            except RefusedError:
                wanted = name in RESULTS or name in ("cuMemHostAlloc", "cuEventElapsedTime")
                return (status.CUDA_ERROR_UNKNOWN, *((None,) if wanted else ()))
            if name in RESULTS:
                value = getattr(self._real, RESULTS[name])(value)
            return (status.CUDA_SUCCESS, *(() if value is None else (value,)))

        vars(self)[name] = create_autospec(real, side_effect=answer)
        return vars(self)[name]


def install(monkeypatch: Any, driver: FakeDriver) -> None:
    """Put both bindings and the driver's library in their places."""
    import cuda.bindings.driver as real

    from yolox_deploy.runtimes import gpu

    pycuda = ModuleType("pycuda")
    pycuda.__spec__ = ModuleSpec("pycuda", None)
    modules: dict[str, Any] = {
        "pycuda": pycuda,
        "pycuda.driver": PyCudaModule(driver),
        "cuda.bindings.driver": CudaPythonModule(driver, real),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    library = FakeLibrary(driver)
    monkeypatch.setattr(
        gpu, "ctypes", SimpleNamespace(**{**vars(ctypes), "CDLL": lambda _: library})
    )
