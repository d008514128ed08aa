"""A small CUDA layer: memory, copies, streams, events and graphs of one GPU.

Two bindings can carry it: pycuda, and cuda-python (``cuda.bindings``) where pycuda, a source
package, cannot be built.  What is allocated is owned by the layer and freed in reverse order when
it closes, also after an error.  The GPU's primary context is retained, so that several layers,
threads and other libraries (PyTorch, TensorRT) of one process share it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import MissingPackageError, UsageError, suggest
from yolox_deploy.runtimes.base import one_line
from yolox_deploy.runtimes.gpu import Driver, Gpu

# Values of the CUDA driver API: a stream that does not wait for the legacy default stream.
NON_BLOCKING = 1
INSTALL = "pip install cuda-bindings (or pycuda, which is built against CUDA's headers)"


H = TypeVar("H", bound="Handle")


class CudaError(RuntimeError):
    """A call that the driver refused."""


class Handle:
    """A thing of the binding; ``value`` is ``None`` once it was freed."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        """Return the binding's object; raises :class:`CudaError` after it was freed."""
        if self.value is None:
            raise CudaError("used after it was freed")
        return self.value

    def take(self) -> Any:
        """Return the binding's object and forget it."""
        value, self.value = self.get(), None
        return value


class DeviceBuffer(Handle):
    """Memory of the GPU: ``nbytes`` bytes."""

    def __init__(self, value: Any, nbytes: int) -> None:
        super().__init__(value)
        self.nbytes = nbytes

    @property
    def address(self) -> int:
        """The address that an engine is given."""
        return int(self.get())


class HostBuffer(Handle):
    """Page-locked memory of the host, which the GPU copies without a detour."""

    def __init__(self, value: Any, array: NDArray[Any]) -> None:
        super().__init__(value)
        self._array: NDArray[Any] | None = array

    @property
    def array(self) -> NDArray[Any]:
        """The memory as an array; not to be kept, it is gone once the layer is closed."""
        self.get()
        assert self._array is not None
        return self._array

    def take(self) -> Any:
        """Return the binding's object and forget it and the array."""
        self._array = None
        return super().take()


class Cuda(ABC):
    """One GPU through one binding, for one thread at a time.

    All methods but ``close`` want the context to be current: call them inside
    ``with cuda.current()``.  ``graphs`` says whether the binding has CUDA graphs.

    Raises :class:`~yolox_deploy.errors.DeviceError` where there is no driver or no such GPU.
    """

    # The word that chooses the binding, the module that it is, and who distributes that.
    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]
    graphs: ClassVar[bool]

    def __init__(self, index: int = 0) -> None:
        # Before the binding is imported: pycuda cannot be without a driver.
        self.driver = Driver()
        self.gpu: Gpu = self.driver.gpu(index)
        self.closed = False
        self.binding: Any = importlib.import_module(self.module)
        # What to do with each when it goes, the oldest first.
        self._owned: dict[Handle, Callable[[Any], None]] = {}
        self._streams: list[Handle] = []
        self._context = self._retain(index)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's primary context current to this thread for a while."""
        if self.closed:
            raise CudaError("the CUDA layer was closed")
        self._push()
        try:
            yield
        finally:
            self._pop()

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Return ``nbytes`` bytes of the GPU's memory, not initialised."""
        return self.own(DeviceBuffer(self._allocate(nbytes), nbytes), self._free)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostBuffer:
        """Return page-locked memory for an array, not initialised."""
        value, flat = self._allocate_host(int(np.prod(shape)) * dtype.itemsize)
        return self.own(HostBuffer(value, flat.view(dtype).reshape(shape)), self._free_host)

    def stream(self) -> Handle:
        """Return a stream of work that waits for no other."""
        self._streams.append(self.own(Handle(self._make_stream()), self._drop_stream))
        return self._streams[-1]

    def event(self) -> Handle:
        """Return an event that can tell times."""
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
        """Return a graph of what ``work`` gives to ``stream``; nothing is run.

        Raises what ``work`` raises and :class:`CudaError` where it cannot be captured.
        """
        self._begin_capture(stream.get())
        try:
            work()
        except BaseException:
            # The stream must leave its capture, or nothing runs on it any more.
            with contextlib.suppress(Exception):
                self._drop_graph_source(self._end_capture(stream.get()))
            raise
        source = self._end_capture(stream.get())
        try:
            return self.own(Handle(self._instantiate(source)), self._drop_graph)
        finally:
            self._drop_graph_source(source)

    def free(self, handle: Handle) -> None:
        """Free something before the layer is closed."""
        drop = self._owned.pop(handle)
        drop(handle.take())

    def own(self, handle: H, drop: Callable[[Any], None]) -> H:
        """Let ``drop`` free the binding's object when the layer is closed; return ``handle``."""
        self._owned[handle] = drop
        return handle

    def close(self) -> None:
        """Free everything, the newest first, and release the context; twice is fine.

        The first error is raised after all was tried.
        """
        if self.closed:
            return
        try:
            with self.current(), ExitStack() as frees:
                for stream in self._streams:
                    # An error may have left work on it that uses what is going to be freed.
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
        """Let ``event`` note the time when ``stream`` gets to it."""

    @abstractmethod
    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""

    @abstractmethod
    def address(self, stream: Handle) -> int:
        """Return a stream's handle as engines take it."""

    @abstractmethod
    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a captured graph on ``stream``."""

    @abstractmethod
    def _retain(self, index: int) -> Any:
        """Return GPU ``index``'s primary context, one more use of it."""

    @abstractmethod
    def _release(self) -> None:
        """Give that use back."""

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

    # Only where ``graphs`` is true.
    def _begin_capture(self, stream: Any) -> None:
        raise CudaError(f"{self.name} has no CUDA graphs")

    def _end_capture(self, stream: Any) -> Any:
        raise CudaError(f"{self.name} has no CUDA graphs")

    def _instantiate(self, source: Any) -> Any:
        raise CudaError(f"{self.name} has no CUDA graphs")

    def _drop_graph_source(self, source: Any) -> None:
        raise CudaError(f"{self.name} has no CUDA graphs")

    def _drop_graph(self, value: Any) -> None:
        raise CudaError(f"{self.name} has no CUDA graphs")


def _check_copy(array: NDArray[Any], buffer: DeviceBuffer) -> None:
    if not array.flags.c_contiguous or not 0 < array.nbytes <= buffer.nbytes:
        raise CudaError(
            f"cannot copy between an array of {array.nbytes} bytes, contiguous: "
            f"{array.flags.c_contiguous}, and {buffer.nbytes} bytes of the GPU"
        )


class PyCuda(Cuda):
    """The layer on pycuda, which has no graphs.

    Its streams and events are destroyed with their last reference.  That is the :class:`Handle`'s:
    no frame of ours may keep one, because an error's traceback would keep the frame.
    """

    name = "pycuda"
    module = "pycuda.driver"
    package = "pycuda"
    graphs = False

    def _retain(self, index: int) -> Any:
        self.binding.init()
        return self.binding.Device(index).retain_primary_context()

    def _release(self) -> None:
        # detach() gives the use back only where pycuda takes the context for current, and leaves
        # it on the driver's stack; so it is taken off there first, without pycuda noticing.
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
        """Nothing: the caller forgets it."""

    def _make_event(self) -> Any:
        return self.binding.Event()

    def _drop_event(self, value: Any) -> None:
        """Nothing: the caller forgets it."""

    def _copy_in(self, address: int, array: NDArray[Any], stream: Handle) -> None:
        self.binding.memcpy_htod_async(address, array, stream.get())

    def _copy_out(self, array: NDArray[Any], address: int, stream: Handle) -> None:
        self.binding.memcpy_dtoh_async(array, address, stream.get())

    def record(self, event: Handle, stream: Handle) -> None:
        """Let ``event`` note the time when ``stream`` gets to it."""
        event.get().record(stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""
        return float(start.get().time_till(end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        """Return a stream's handle as engines take it."""
        return int(stream.get().handle)

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Refuse: there are no graphs."""
        raise CudaError(f"{self.name} has no CUDA graphs")


class CudaPython(Cuda):
    """The layer on cuda-python (cuda-bindings 12 or 13): every call returns its status first."""

    name = "cuda-python"
    module = "cuda.bindings.driver"
    package = "cuda-bindings"
    graphs = True

    def _call(self, name: str, *arguments: Any) -> Any:
        """Return what a function of the driver gives; raises :class:`CudaError` if it refuses."""
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
        """Let ``event`` note the time when ``stream`` gets to it."""
        self._call("cuEventRecord", event.get(), stream.get())

    def seconds(self, start: Handle, end: Handle) -> float:
        """Return the seconds between two events that have happened."""
        return float(self._call("cuEventElapsedTime", start.get(), end.get())) * 1e-3

    def address(self, stream: Handle) -> int:
        """Return a stream's handle as engines take it."""
        return int(stream.get())

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a captured graph on ``stream``."""
        self._call("cuGraphLaunch", graph.get(), stream.get())

    def _begin_capture(self, stream: Any) -> None:
        # Other threads of the process go on allocating meanwhile.
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


# In the order in which they are preferred.
BINDINGS: dict[str, type[Cuda]] = {kind.name: kind for kind in (PyCuda, CudaPython)}


def installed_bindings() -> dict[str, str]:
    """Return the names and versions of the bindings that are installed, preferred first."""
    return {kind.name: _version(kind) for kind in BINDINGS.values() if _installed(kind.module)}


def _version(kind: type[Cuda]) -> str:
    try:
        return importlib.metadata.version(kind.package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def choose_binding(name: str | None = None) -> type[Cuda]:
    """Return the binding called ``name``, or the first that is installed and can be imported.

    To be called where there is a driver, which pycuda cannot be imported without.

    Raises :class:`UsageError` for another word, :class:`MissingPackageError` where it, or every
    one, is not installed.
    """
    if name is not None and name not in BINDINGS:
        raise UsageError(
            f"unknown CUDA binding {name!r}: expected {', '.join(BINDINGS)}"
            + suggest(name, BINDINGS)
        )
    reasons = []
    for kind in BINDINGS.values():
        if name in (None, kind.name) and _installed(kind.module):
            try:
                importlib.import_module(kind.module)
                return kind
            except ImportError as error:
                # pycuda, built for another CUDA, say.
                reasons.append(f"{kind.name} cannot be imported ({one_line(error)})")
    missing = f"{name or 'a CUDA binding (pycuda or cuda-python)'} is not installed"
    raise MissingPackageError(f"{', '.join(reasons) or missing}: {INSTALL}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.rpartition(".")[0]) is not None
    except ModuleNotFoundError:
        return False
