"""The CUDA layer on pycuda, which is compiled against CUDA's headers when it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.tensorrt.cuda import NON_BLOCKING, Cuda, Handle


class PyCuda(Cuda):
    """The layer on pycuda, which has no CUDA graphs.

    pycuda destroys a stream or an event with the last reference to it.  Only its :class:`Handle`
    may keep a reference: a local variable would live on in the traceback of an error.
    """

    name = "pycuda"
    module = "pycuda.driver"
    package = "pycuda"
    graphs = False

    def _retain(self, index: int) -> Any:
        self.binding.init()
        return self.binding.Device(index).retain_primary_context()

    def _release(self) -> None:
        # detach() releases the context only if pycuda believes that it is current, and then leaves
        # it on the driver's stack.  So it is made current, and taken off that stack without pycuda.
        self._push()
        try:
            self.driver.pop_context()
        finally:
            self._context.detach()

    def _push(self) -> None:
        self._context.push()

    def _pop(self) -> None:
        self.binding.Context.pop()

    def _allocate(self, nbytes: int) -> Any:
        return self.binding.mem_alloc(nbytes)

    def _free(self, value: Any) -> None:
        value.free()

    def _allocate_host(self, nbytes: int) -> tuple[Any, NDArray[np.uint8]]:
        array = self.binding.pagelocked_empty(nbytes, np.uint8)
        return array.base, array

    def _free_host(self, value: Any) -> None:
        value.free()

    def _make_stream(self) -> Any:
        return self.binding.Stream(NON_BLOCKING)

    def synchronize(self, stream: Handle) -> None:
        """Wait until everything given to ``stream`` is done."""
        stream.get().synchronize()

    def _drop_stream(self, value: Any) -> None:
        """Do nothing: pycuda destroys it when the caller forgets it."""

    def _make_event(self) -> Any:
        return self.binding.Event()

    def _drop_event(self, value: Any) -> None:
        """Do nothing: pycuda destroys it when the caller forgets it."""

    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None:
        self.binding.memcpy_htod_async(address, array, stream.get())

    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None:
        self.binding.memcpy_dtoh_async(array, address, stream.get())

    def record(self, event: Handle, stream: Handle) -> None:
        """Let ``event`` note the time when ``stream`` has done the work given to it so far."""
        event.get().record(stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""
        return float(start.get().time_till(end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        """Return a stream's handle, as an engine takes it."""
        return int(stream.get().handle)
