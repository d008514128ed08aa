"""The CUDA layer on cuda-python, which is installed as a wheel (``cuda-bindings``)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.tensorrt.cuda import NON_BLOCKING, Cuda, CudaError, Drop, Handle


class CudaPython(Cuda):
    """The layer on cuda-python (cuda-bindings 12 or 13), whose functions return a status first."""

    name = "cuda-python"
    module = "cuda.bindings.driver"
    package = "cuda-bindings"
    graphs = True

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver and return its result; raises :class:`CudaError`."""
        status, *values = getattr(self.binding, name)(*arguments)
        if int(status):
            raise CudaError(f"{name} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None

    def _retain(self, index: int) -> Any:
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", index)
        return self._call("cuDevicePrimaryCtxRetain", self._device)

    def _release(self) -> None:
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def _push(self) -> None:
        self._call("cuCtxPushCurrent", self._context)

    def _pop(self) -> None:
        self._call("cuCtxPopCurrent")

    def _allocate(self, nbytes: int) -> tuple[Any, Drop]:
        return self._call("cuMemAlloc", nbytes), partial(self._call, "cuMemFree")

    def _allocate_host(self, nbytes: int) -> tuple[NDArray[np.uint8], Drop]:
        address = int(self._call("cuMemHostAlloc", nbytes, 0))
        memory = memoryview((ctypes.c_uint8 * nbytes).from_address(address))
        return np.frombuffer(memory, np.uint8), lambda _: self._call("cuMemFreeHost", address)

    def _make_stream(self) -> tuple[Any, Drop]:
        return self._call("cuStreamCreate", NON_BLOCKING), partial(self._call, "cuStreamDestroy")

    def _make_event(self) -> tuple[Any, Drop]:
        return self._call("cuEventCreate", 0), partial(self._call, "cuEventDestroy")

    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None:
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream.get())

    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream.get())

    def synchronize(self, stream: Handle) -> None:
        self._call("cuStreamSynchronize", stream.get())

    def record(self, event: Handle, stream: Handle) -> None:
        self._call("cuEventRecord", event.get(), stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        return float(self._call("cuEventElapsedTime", start.get(), end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        return int(stream.get())

    def launch(self, graph: Handle, stream: Handle) -> None:
        self._call("cuGraphLaunch", graph.get(), stream.get())

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle:
        # Thread-local: other threads of the process may allocate memory meanwhile.
        mode = self.binding.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream.get(), mode)
        try:
            work()
        except BaseException:
            # End the capture: a stream that is left in it runs nothing any more.
            with contextlib.suppress(Exception):
                self._call("cuGraphDestroy", self._call("cuStreamEndCapture", stream.get()))
            raise
        source = self._call("cuStreamEndCapture", stream.get())
        try:
            graph = Handle(self._call("cuGraphInstantiate", source, 0))
            return self.own(graph, partial(self._call, "cuGraphExecDestroy"))
        finally:
            self._call("cuGraphDestroy", source)
