"""The CUDA layer on cuda-python, which is installed as a wheel (``cuda-bindings``)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.tensorrt.cuda import NON_BLOCKING, Cuda, CudaError, Handle


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

    def _allocate(self, nbytes: int) -> Any:
        return self._call("cuMemAlloc", nbytes)

    def _free(self, value: Any) -> None:
        self._call("cuMemFree", value)

    def _allocate_host(self, nbytes: int) -> tuple[Any, NDArray[np.uint8]]:
        address = int(self._call("cuMemHostAlloc", nbytes, 0))
        memory = memoryview((ctypes.c_uint8 * nbytes).from_address(address))
        return address, np.frombuffer(memory, np.uint8)

    def _free_host(self, value: Any) -> None:
        self._call("cuMemFreeHost", value)

    def _make_stream(self) -> Any:
        return self._call("cuStreamCreate", NON_BLOCKING)

    def synchronize(self, stream: Handle) -> None:
        """Wait until everything given to ``stream`` is done."""
        self._call("cuStreamSynchronize", stream.get())

    def _drop_stream(self, value: Any) -> None:
        self._call("cuStreamDestroy", value)

    def _make_event(self) -> Any:
        return self._call("cuEventCreate", 0)

    def _drop_event(self, value: Any) -> None:
        self._call("cuEventDestroy", value)

    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None:
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream.get())

    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream.get())

    def record(self, event: Handle, stream: Handle) -> None:
        """Let ``event`` note the time when ``stream`` has done the work given to it so far."""
        self._call("cuEventRecord", event.get(), stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""
        return float(self._call("cuEventElapsedTime", start.get(), end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        """Return a stream's handle, as an engine takes it."""
        return int(stream.get())

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a captured graph on ``stream``."""
        self._call("cuGraphLaunch", graph.get(), stream.get())

    def _begin_capture(self, stream: Any) -> None:
        # Thread-local: other threads of the process may allocate memory meanwhile.
        mode = self.binding.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)

    def _end_capture(self, stream: Any) -> Any:
        return self._call("cuStreamEndCapture", stream)

    def _instantiate(self, source: Any) -> Any:
        return self._call("cuGraphInstantiate", source, 0)

    def _drop_graph_source(self, source: Any) -> None:
        self._call("cuGraphDestroy", source)

    def _drop_graph(self, value: Any) -> None:
        self._call("cuGraphExecDestroy", value)
