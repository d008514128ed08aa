"""A small CUDA layer: memory, copies, streams, events and graphs of one GPU.

The calls go through a Python package, the binding; ``bindings/`` has one file for each.  The layer
owns everything that is allocated through it.  When it closes, also after an error, it frees
everything in reverse order.  The layer uses the GPU's primary context, which several layers,
threads and other libraries (PyTorch, TensorRT) of one process share.
"""

from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.gpu import Driver, Gpu

# CU_STREAM_NON_BLOCKING of the CUDA driver API: the stream does not wait for the default stream.
NON_BLOCKING = 1

AnyHandle = TypeVar("AnyHandle", bound="Handle")
# Frees the object of a handle.
Drop: TypeAlias = Callable[[Any], object]


class CudaError(RuntimeError):
    """The driver, or this layer, refused a call."""


class Handle:
    """An object of the binding; ``value`` is ``None`` after the object was freed."""

    kind: ClassVar[str] = "stream, event or graph"

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        """Return the binding's object; raises :class:`CudaError` after it was freed."""
        if self.value is None:
            raise CudaError(f"this {self.kind} was used after it was freed")
        return self.value

    def take(self) -> Any:
        """Return the binding's object and forget it."""
        value, self.value = self.get(), None
        return value


class DeviceBuffer(Handle):
    """Memory of the GPU, ``nbytes`` bytes long."""

    kind = "memory of the GPU"

    def __init__(self, value: Any, nbytes: int) -> None:
        super().__init__(value)
        self.nbytes = nbytes

    @property
    def address(self) -> int:
        """The address of the memory, as an engine takes it."""
        return int(self.get())


class HostBuffer(Handle):
    """Page-locked memory of the host, which the GPU reads and writes directly."""

    kind = "page-locked memory"

    @property
    def array(self) -> NDArray[Any]:
        """The memory as an array.  Copy what you keep: closing the layer frees the memory."""
        array: NDArray[Any] = self.get()
        return array


class Cuda(ABC):
    """One GPU, used through one binding by one thread at a time.

    Call every method except ``close`` inside ``with cuda.current()``.

    Raises :class:`~yolox_deploy.errors.DeviceError` if there is no driver or no such GPU.
    """

    # ``name`` chooses the binding, ``module`` is imported, and ``package`` is what pip installs.
    # ``graphs`` is whether the binding has CUDA graphs.
    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]
    graphs: ClassVar[bool] = False

    def __init__(self, index: int = 0) -> None:
        # Before the binding is imported: importing pycuda fails without a driver.
        self.driver = Driver()
        self.gpu: Gpu = self.driver.gpu(index)
        self.closed = False
        self.binding: Any = importlib.import_module(self.module)
        # The function that frees each handle, oldest handle first.
        self._owned: dict[Handle, Drop] = {}
        self._streams: list[Handle] = []
        self._context = self._retain(index)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's primary context current in this thread, inside a ``with`` block."""
        if self.closed:
            raise CudaError("the CUDA layer was closed")
        self._push()
        try:
            yield
        finally:
            self._pop()

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Return ``nbytes`` bytes of the GPU's memory; the content is undefined."""
        value, drop = self._allocate(nbytes)
        return self.own(DeviceBuffer(value, nbytes), drop)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostBuffer:
        """Return page-locked memory for an array; the content is undefined."""
        flat, drop = self._allocate_host(int(np.prod(shape)) * dtype.itemsize)
        return self.own(HostBuffer(flat.view(dtype).reshape(shape)), drop)

    def stream(self) -> Handle:
        """Return a stream, whose work waits for no other stream."""
        value, drop = self._make_stream()
        self._streams.append(self.own(Handle(value), drop))
        return self._streams[-1]

    def event(self) -> Handle:
        """Return an event, which notes a time."""
        value, drop = self._make_event()
        return self.own(Handle(value), drop)

    def copy_in(self, to: DeviceBuffer, array: NDArray[Any], stream: Handle) -> None:
        """Begin to copy ``array``, C-contiguous and page-locked, to the start of ``to``."""
        _check_copy(array, to)
        self._copy_in(to.address, array, stream)

    def copy_out(self, array: NDArray[Any], of: DeviceBuffer, stream: Handle) -> None:
        """Begin to copy the start of ``of`` into ``array``, C-contiguous and page-locked."""
        _check_copy(array, of)
        self._copy_out(array, of.address, stream)

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle:
        """Return a graph of the work that ``work()`` gives to ``stream``; nothing is run yet.

        Raises what ``work`` raises, and :class:`CudaError` if the work cannot be captured.
        """
        raise CudaError(f"{self.name} has no CUDA graphs")

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a captured graph on ``stream``."""
        raise CudaError(f"{self.name} has no CUDA graphs")

    def free(self, handle: Handle) -> None:
        """Free one object before the layer is closed."""
        self._owned.pop(handle)(handle.take())

    def own(self, handle: AnyHandle, drop: Drop) -> AnyHandle:
        """Return ``handle``; closing the layer calls ``drop`` with the binding's object."""
        self._owned[handle] = drop
        return handle

    def close(self) -> None:
        """Free everything, newest first, and release the context; may be called twice.

        After an error the rest is freed, too; then the error is raised.
        """
        if self.closed:
            return
        try:
            with self.current(), ExitStack() as frees:
                for stream in self._streams:
                    # An error may have left work on the stream that uses memory freed below.
                    with contextlib.suppress(Exception):
                        self.synchronize(stream)
                for handle in self._owned:
                    frees.callback(self.free, handle)
        finally:
            self.closed = True
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def synchronize(self, stream: Handle) -> None:
        """Wait until everything given to ``stream`` is done."""

    @abstractmethod
    def record(self, event: Handle, stream: Handle) -> None:
        """Let ``event`` note the time when ``stream`` has done the work given to it so far."""

    @abstractmethod
    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""

    @abstractmethod
    def address(self, stream: Handle) -> int:
        """Return a stream's handle, as an engine takes it."""

    @abstractmethod
    def _retain(self, index: int) -> Any:
        """Return the primary context of GPU ``index``, and count one more use of it."""

    @abstractmethod
    def _release(self) -> None:
        """Count one use of the primary context less."""

    @abstractmethod
    def _push(self) -> None: ...

    @abstractmethod
    def _pop(self) -> None: ...

    # These four return a new object and the function that frees it.
    @abstractmethod
    def _allocate(self, nbytes: int) -> tuple[Any, Drop]: ...

    @abstractmethod
    def _allocate_host(self, nbytes: int) -> tuple[NDArray[np.uint8], Drop]: ...

    @abstractmethod
    def _make_stream(self) -> tuple[Any, Drop]: ...

    @abstractmethod
    def _make_event(self) -> tuple[Any, Drop]: ...

    @abstractmethod
    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None: ...

    @abstractmethod
    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None: ...


def _check_copy(array: NDArray[Any], buffer: DeviceBuffer) -> None:
    if not array.flags.c_contiguous or not 0 < array.nbytes <= buffer.nbytes:
        raise CudaError(
            f"cannot copy between an array of {array.nbytes} bytes (contiguous: "
            f"{array.flags.c_contiguous}) and a buffer of {buffer.nbytes} bytes on the GPU"
        )
