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
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.gpu import Driver, Gpu

# CU_STREAM_NON_BLOCKING of the CUDA driver API: the stream does not wait for the default stream.
NON_BLOCKING = 1

AnyHandle = TypeVar("AnyHandle", bound="Handle")


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

    def __init__(self, value: Any, array: NDArray[Any]) -> None:
        super().__init__(value)
        self._array: NDArray[Any] | None = array

    @property
    def array(self) -> NDArray[Any]:
        """The memory as an array.  Copy what you keep: closing the layer frees the memory."""
        self.get()
        assert self._array is not None
        return self._array

    def take(self) -> Any:
        """Return the binding's object and forget it and the array."""
        self._array = None
        return super().take()


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
    graphs: ClassVar[bool]

    def __init__(self, index: int = 0) -> None:
        # Before the binding is imported: importing pycuda fails without a driver.
        self.driver = Driver()
        self.gpu: Gpu = self.driver.gpu(index)
        self.closed = False
        self.binding: Any = importlib.import_module(self.module)
        # The function that frees each handle, oldest handle first.
        self._owned: dict[Handle, Callable[[Any], None]] = {}
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
        return self.own(DeviceBuffer(self._allocate(nbytes), nbytes), self._free)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostBuffer:
        """Return page-locked memory for an array; the content is undefined."""
        value, flat = self._allocate_host(int(np.prod(shape)) * dtype.itemsize)
        return self.own(HostBuffer(value, flat.view(dtype).reshape(shape)), self._free_host)

    def stream(self) -> Handle:
        """Return a stream, whose work waits for no other stream."""
        self._streams.append(self.own(Handle(self._make_stream()), self._drop_stream))
        return self._streams[-1]

    def event(self) -> Handle:
        """Return an event, which notes a time."""
        return self.own(Handle(self._make_event()), self._drop_event)

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
        self._begin_capture(stream.get())
        try:
            work()
        except BaseException:
            # End the capture: a stream that is left in it runs nothing any more.
            with contextlib.suppress(Exception):
                self._drop_graph_source(self._end_capture(stream.get()))
            raise
        source = self._end_capture(stream.get())
        try:
            return self.own(Handle(self._instantiate(source)), self._drop_graph)
        finally:
            self._drop_graph_source(source)

    def free(self, handle: Handle) -> None:
        """Free one object before the layer is closed."""
        drop = self._owned.pop(handle)
        drop(handle.take())

    def own(self, handle: AnyHandle, drop: Callable[[Any], None]) -> AnyHandle:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a captured graph on ``stream``."""
        raise self._no_graphs()

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

    @abstractmethod
    def _allocate(self, nbytes: int) -> Any: ...

    @abstractmethod
    def _free(self, value: Any) -> None: ...

    @abstractmethod
    def _allocate_host(self, nbytes: int) -> tuple[Any, NDArray[np.uint8]]: ...

    @abstractmethod
    def _free_host(self, value: Any) -> None: ...

    @abstractmethod
    def _make_stream(self) -> Any: ...

    @abstractmethod
    def _drop_stream(self, value: Any) -> None: ...

    @abstractmethod
    def _make_event(self) -> Any: ...

    @abstractmethod
    def _drop_event(self, value: Any) -> None: ...

    @abstractmethod
    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None: ...

    @abstractmethod
    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None: ...

    # A binding whose ``graphs`` is true overrides these and ``launch``.
    def _begin_capture(self, stream: Any) -> None:
        raise self._no_graphs()

    def _end_capture(self, stream: Any) -> Any:
        raise self._no_graphs()

    def _instantiate(self, source: Any) -> Any:
        raise self._no_graphs()

    def _drop_graph_source(self, source: Any) -> None:
        raise self._no_graphs()

    def _drop_graph(self, value: Any) -> None:
        raise self._no_graphs()

    def _no_graphs(self) -> CudaError:
        return CudaError(f"{self.name} has no CUDA graphs")


def _check_copy(array: NDArray[Any], buffer: DeviceBuffer) -> None:
    if not array.flags.c_contiguous or not 0 < array.nbytes <= buffer.nbytes:
        raise CudaError(
            f"cannot copy between an array of {array.nbytes} bytes (contiguous: "
            f"{array.flags.c_contiguous}) and a buffer of {buffer.nbytes} bytes on the GPU"
        )
