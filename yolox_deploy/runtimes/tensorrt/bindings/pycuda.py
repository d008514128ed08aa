"""The CUDA layer on pycuda, which is compiled against CUDA's headers when it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.tensorrt.cuda import NON_BLOCKING, Cuda, Drop, Handle


class PyCuda(Cuda):
    """The layer on pycuda, which has no CUDA graphs.

    pycuda destroys a stream or an event with the last reference to it.  Only its :class:`Handle`
    may keep a reference: a local variable would live on in the traceback of an error.
    """

    name = "pycuda"
    module = "pycuda.driver"
    package = "pycuda"

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

    def _allocate(self, nbytes: int) -> tuple[Any, Drop]:
        return self.binding.mem_alloc(nbytes), lambda memory: memory.free()

    def _allocate_host(self, nbytes: int) -> tuple[NDArray[np.uint8], Drop]:
        array = self.binding.pagelocked_empty(nbytes, np.uint8)
        return array, lambda _: array.base.free()

    def _make_stream(self) -> tuple[Any, Drop]:
        return self.binding.Stream(NON_BLOCKING), _forget

    def _make_event(self) -> tuple[Any, Drop]:
        return self.binding.Event(), _forget

    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None:
        self.binding.memcpy_htod_async(address, array, stream.get())

    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None:
        self.binding.memcpy_dtoh_async(array, address, stream.get())

    def synchronize(self, stream: Handle) -> None:
        stream.get().synchronize()

    def record(self, event: Handle, stream: Handle) -> None:
        event.get().record(stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        return float(start.get().time_till(end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        return int(stream.get().handle)


def _forget(value: Any) -> None:
    """Do nothing: pycuda destroys the object with this last reference to it."""
