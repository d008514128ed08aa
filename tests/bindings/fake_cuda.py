"""A CUDA driver that keeps books, behind the two Python bindings, with no GPU.

Memory lies on the host.  Work given to a stream happens when somebody waits for the stream, so
that a forgotten wait shows.  A copy of a wrong size, a use after a free, a call without a current
context and a copy from memory that is not page-locked are refused; any call can be made to fail.

``cuda_python`` is made of the real ``cuda.bindings.driver``: its names, signatures and types.
``PyCudaModule`` follows pycuda 2026.1's source in what it does with contexts and destructors.
That a real driver behaves like this one cannot be shown here.
"""
# ruff: noqa: N802 (the driver's names)

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np

SUCCESS, UNKNOWN = 0, 999
Work = Callable[[], None]


class RefusedError(Exception):
    """What pycuda raises here: a call that the driver refused."""


class FakeDriver:
    """The driver's state; ``fail_at`` is the number (from 1) of the call that fails."""

    def __init__(self, fail_at: int = 0, gpus: int = 1) -> None:
        self.lock = threading.RLock()
        self.fail_at = fail_at
        self.gpus = gpus
        self.name = "NVIDIA GeForce RTX 3090"
        self.capability = (8, 6)
        self.calls: list[str] = []
        self.wrong: list[str] = []
        self.next_handle = 1000
        self.clock = 0.0
        self.retained = 0
        self.stacks: dict[int, list[int]] = {}
        self.memory: dict[int, Any] = {}
        self.host: dict[int, Any] = {}
        self.streams: dict[int, list[Work]] = {}
        self.captures: dict[int, list[Work]] = {}
        self.events: dict[int, float | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.execs: dict[int, list[Work]] = {}

    def books(self) -> dict[str, int]:
        """Everything that is still held; empty when all was given back."""
        held = {
            name: len(getattr(self, name))
            for name in ("memory", "host", "streams", "captures", "events", "graphs", "execs")
        }
        held["retained"] = self.retained
        held["current contexts"] = sum(map(len, self.stacks.values()))
        return {name: count for name, count in held.items() if count}

    @contextmanager
    def call(self, name: str, *, context: bool = True) -> Iterator[None]:
        """Note a call, and refuse it where it is its turn or no context is current."""
        with self.lock:
            self.calls.append(name)
            if len(self.calls) == self.fail_at:
                raise RefusedError(f"{name} failed: injected")
            if context and not self.stack:
                self.refuse(f"{name} without a current context")
            yield

    def refuse(self, text: str) -> None:
        self.wrong.append(text)
        raise RefusedError(text)

    @property
    def stack(self) -> list[int]:
        return self.stacks.setdefault(threading.get_ident(), [])

    def handle(self) -> int:
        self.next_handle += 8
        return self.next_handle

    # Contexts.
    def cuInit(self, flags: int) -> None:
        with self.call("cuInit", context=False):
            pass

    def cuDeviceGet(self, index: int) -> int:
        with self.call("cuDeviceGet", context=False):
            return index

    def cuDevicePrimaryCtxRetain(self, device: int) -> int:
        with self.call("cuDevicePrimaryCtxRetain", context=False):
            self.retained += 1
            return 7

    def cuDevicePrimaryCtxRelease(self, device: int) -> None:
        with self.call("cuDevicePrimaryCtxRelease", context=False):
            if not self.retained:
                self.refuse("released once too often")
            self.retained -= 1
            if not self.retained and any((self.memory, self.host, self.streams, self.events)):
                self.wrong.append("the context went before what was made in it")

    def cuCtxPushCurrent(self, context: int) -> None:
        with self.call("cuCtxPushCurrent", context=False):
            if not self.retained:
                self.refuse("a released context was made current")
            self.stack.append(context)

    def cuCtxPopCurrent(self) -> int:
        with self.call("cuCtxPopCurrent"):
            return self.stack.pop()

    # Memory.
    def _allocate(self, name: str, place: dict[int, Any], nbytes: int) -> int:
        with self.call(name):
            if nbytes <= 0:
                self.refuse(f"{name} of {nbytes} bytes")
            buffer = (ctypes.c_uint8 * nbytes)(*b"\xa5" * min(nbytes, 8))
            address = ctypes.addressof(buffer)
            place[address] = buffer
            return address

    def _drop(self, name: str, place: dict[int, Any], handle: int) -> None:
        with self.call(name):
            if handle not in place:
                self.refuse(f"{name} of what is not there")
            del place[handle]

    def cuMemAlloc(self, nbytes: int) -> int:
        return self._allocate("cuMemAlloc", self.memory, nbytes)

    def cuMemFree(self, address: int) -> None:
        self._drop("cuMemFree", self.memory, address)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        return self._allocate("cuMemHostAlloc", self.host, nbytes)

    def cuMemFreeHost(self, address: int) -> None:
        self._drop("cuMemFreeHost", self.host, address)

    def _room(self, place: dict[int, Any], address: int, nbytes: int) -> bool:
        return any(
            start <= address and address + nbytes <= start + len(buffer)
            for start, buffer in place.items()
        )

    def _copy(self, name: str, to: int, source: int, nbytes: int, stream: int) -> None:
        inward = name == "cuMemcpyHtoDAsync"
        places = ((to, self.memory), (source, self.host))
        if not inward:
            places = ((to, self.host), (source, self.memory))

        def check() -> None:
            if not all(self._room(place, address, nbytes) for address, place in places):
                self.refuse(f"{name} of {nbytes} bytes where there are not as many")

        def work() -> None:
            check()
            ctypes.memmove(to, source, nbytes)

        with self.call(name):
            check()
            self.enqueue(stream, work)

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy("cuMemcpyHtoDAsync", to, source, nbytes, stream)

    def cuMemcpyDtoHAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy("cuMemcpyDtoHAsync", to, source, nbytes, stream)

    # Streams and events.
    def cuStreamCreate(self, flags: int) -> int:
        with self.call("cuStreamCreate"):
            handle = self.handle()
            self.streams[handle] = []
            return handle

    def cuStreamDestroy(self, stream: int) -> None:
        if self.streams.get(stream):
            self.wrong.append("a stream was destroyed before its work was done")
        self._drop("cuStreamDestroy", self.streams, stream)

    def enqueue(self, stream: int, work: Work) -> None:
        """Give work to a stream, or to the graph that it is being captured into."""
        if stream not in self.streams:
            self.refuse("work for a stream that is not there")
        self.captures.get(stream, self.streams[stream]).append(work)

    def cuStreamSynchronize(self, stream: int) -> None:
        with self.call("cuStreamSynchronize"):
            if stream not in self.streams or stream in self.captures:
                self.refuse("waiting for a stream that is not there or being captured")
            for work in self.streams[stream]:
                self.clock += 1e-3
                work()
            self.streams[stream].clear()

    def cuEventCreate(self, flags: int) -> int:
        with self.call("cuEventCreate"):
            handle = self.handle()
            self.events[handle] = None
            return handle

    def cuEventDestroy(self, event: int) -> None:
        self._drop("cuEventDestroy", self.events, event)

    def cuEventRecord(self, event: int, stream: int) -> None:
        with self.call("cuEventRecord"):
            if event not in self.events:
                self.refuse("recording an event that is not there")
            self.events[event] = None
            self.enqueue(stream, lambda: self.events.update({event: self.clock}))

    def cuEventElapsedTime(self, start: int, end: int) -> float:
        """Return milliseconds: every piece of work takes one."""
        with self.call("cuEventElapsedTime"):
            first, last = self.events.get(start), self.events.get(end)
            if first is None or last is None:
                self.refuse("the time of an event that has not happened")
            assert first is not None
            assert last is not None
            return (last - first) * 1e3

    # Graphs.
    def cuStreamBeginCapture(self, stream: int, mode: Any) -> None:
        with self.call("cuStreamBeginCapture"):
            if stream in self.captures or self.streams.get(stream) is None:
                self.refuse("capturing twice")
            self.captures[stream] = []

    def cuStreamEndCapture(self, stream: int) -> int:
        # The stream has left its capture also where there is no graph of it.
        captured = self.captures.pop(stream)
        with self.call("cuStreamEndCapture"):
            handle = self.handle()
            self.graphs[handle] = captured
            return handle

    def cuGraphInstantiate(self, graph: int, flags: int) -> int:
        with self.call("cuGraphInstantiate"):
            handle = self.handle()
            self.execs[handle] = list(self.graphs[graph])
            return handle

    def cuGraphDestroy(self, graph: int) -> None:
        self._drop("cuGraphDestroy", self.graphs, graph)

    def cuGraphExecDestroy(self, graph: int) -> None:
        self._drop("cuGraphExecDestroy", self.execs, graph)

    def cuGraphLaunch(self, graph: int, stream: int) -> None:
        with self.call("cuGraphLaunch"):
            if graph not in self.execs:
                self.refuse("launching a graph that is not there")
            for work in self.execs[graph]:
                self.enqueue(stream, work)


class FakeLibrary:
    """The driver's library as ctypes opens it."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver

    def _note(self, name: str, **results: Any) -> int:
        try:
            with self.driver.call(name, context=False):
                for reference, value in results.values():
                    reference._obj.value = value
        except RefusedError:
            return UNKNOWN
        return SUCCESS

    def cuInit(self, flags: int) -> int:
        return self._note("cuInit")

    def cuGetErrorName(self, status: int, text: Any) -> int:
        text._obj.value = b"CUDA_ERROR_UNKNOWN"
        return SUCCESS

    def cuDeviceGetCount(self, count: Any) -> int:
        return self._note("cuDeviceGetCount", count=(count, self.driver.gpus))

    def cuDriverGetVersion(self, version: Any) -> int:
        return self._note("cuDriverGetVersion", version=(version, 13010))

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return self._note("cuDeviceGet", device=(device, index))

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = self.driver.name.encode()
        return self._note("cuDeviceGetName")

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        return self._note("cuDeviceTotalMem_v2", memory=(memory, 24 << 30))

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        found = {75: self.driver.capability[0], 76: self.driver.capability[1]}[attribute]
        return self._note("cuDeviceGetAttribute", value=(value, found))

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        return self._note("cuMemGetInfo_v2", free=(free, 20 << 30), total=(total, 24 << 30))

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        return self._do(lambda: self.driver.cuDevicePrimaryCtxRetain(0))

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        return self._do(lambda: self.driver.cuDevicePrimaryCtxRelease(0))

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        return self._do(lambda: self.driver.cuCtxPushCurrent(7))

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        return self._do(self.driver.cuCtxPopCurrent)

    def _do(self, work: Callable[[], object]) -> int:
        try:
            work()
        except RefusedError:
            return UNKNOWN
        return SUCCESS


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


class PyCudaModule:
    """``pycuda.driver`` on a :class:`FakeDriver`."""

    def __init__(self, driver: FakeDriver) -> None:
        local = threading.local()

        def stack() -> list[Any]:
            if not hasattr(local, "stack"):
                local.stack = []
            found: list[Any] = local.stack
            return found

        def current() -> Any:
            while stack() and not stack()[-1].valid:
                stack().pop()
            return stack()[-1] if stack() else None

        class Context:
            def __init__(self, device: int) -> None:
                self.valid, self.thread = False, threading.get_ident()
                self.value = driver.cuDevicePrimaryCtxRetain(device)
                self.valid = True

            def push(self) -> None:
                if stack():
                    driver.cuCtxPopCurrent()
                driver.cuCtxPushCurrent(self.value)
                stack().append(self)

            @staticmethod
            def pop() -> None:
                if not stack():
                    driver.refuse("cannot pop non-current context")
                driver.cuCtxPopCurrent()
                stack().pop()
                if current() is not None:
                    driver.cuCtxPushCurrent(current().value)

            def detach(self) -> None:
                if not self.valid:
                    driver.refuse("cannot detach from invalid context")
                active = current() is self
                if active or self.thread == threading.get_ident():
                    if not active:
                        # And nothing pops it: a fault of pycuda's for primary contexts.
                        driver.cuCtxPushCurrent(self.value)
                    driver.cuDevicePrimaryCtxRelease(0)
                self.valid = False
                if active and current() is not None:
                    driver.cuCtxPushCurrent(current().value)

            def __del__(self) -> None:
                if self.valid:
                    quietly(self.detach)

        class Device:
            def __init__(self, index: int) -> None:
                self.index = driver.cuDeviceGet(index)

            def retain_primary_context(self) -> Context:
                return Context(self.index)

        def quietly(work: Callable[[], object]) -> None:
            with suppress(RefusedError):
                work()

        def like_c(function: Callable[..., Any]) -> Callable[..., Any]:
            """Let a refusal's traceback keep no argument, as a function in C would not."""

            def call(*arguments: Any) -> Any:
                try:
                    return function(*arguments)
                except RefusedError as error:
                    text = str(error)
                del arguments
                raise RefusedError(text)

            return call

        class Dependent:
            """What belongs to the context that was current when it was made."""

            def __init__(self) -> None:
                self.context = current()
                if self.context is None:
                    driver.refuse("no currently active context?")

            def check(self) -> None:
                if not self.context.valid or current() is not self.context:
                    driver.wrong.append(f"{type(self).__name__} destroyed outside its context")

        class DeviceAllocation(Dependent):
            def __init__(self, nbytes: int) -> None:
                super().__init__()
                self.address: int | None = driver.cuMemAlloc(nbytes)

            def __int__(self) -> int:
                assert self.address is not None
                return self.address

            def free(self) -> None:
                address, self.address = self.address, None
                assert address is not None
                driver.cuMemFree(address)

        class HostAllocation(Dependent):
            def __init__(self, nbytes: int) -> None:
                super().__init__()
                self.address = driver.cuMemHostAlloc(nbytes, 0)
                self.__array_interface__ = {
                    "shape": (nbytes,),
                    "typestr": "|u1",
                    "data": (self.address, False),
                    "version": 3,
                }

            def free(self) -> None:
                driver.cuMemFreeHost(self.address)

        class Stream(Dependent):
            def __init__(self, flags: int = 0) -> None:
                self.made = 0
                super().__init__()
                self.made = driver.cuStreamCreate(flags)

            @property
            def handle(self) -> int:
                return self.made

            @like_c
            def synchronize(self) -> None:
                driver.cuStreamSynchronize(self.made)

            def __del__(self) -> None:
                if self.made:
                    self.check()
                    quietly(lambda: driver.cuStreamDestroy(self.made))

        class Event(Dependent):
            def __init__(self, flags: int = 0) -> None:
                self.made = 0
                super().__init__()
                self.made = driver.cuEventCreate(flags)

            @like_c
            def record(self, stream: Stream | None = None) -> Event:
                assert stream is not None
                driver.cuEventRecord(self.made, stream.made)
                return self

            @like_c
            def time_till(self, end: Event) -> float:
                return driver.cuEventElapsedTime(self.made, end.made)

            def __del__(self) -> None:
                if self.made:
                    self.check()
                    quietly(lambda: driver.cuEventDestroy(self.made))

        def pagelocked_empty(
            shape: int, dtype: Any, order: str = "C", mem_flags: int = 0
        ) -> np.ndarray[Any, Any]:
            assert dtype is np.uint8, "the layer asks for bytes"
            return np.asarray(HostAllocation(int(shape)))

        @like_c
        def memcpy_htod_async(dest: int, src: Any, stream: Stream) -> None:
            driver.cuMemcpyHtoDAsync(dest, src.ctypes.data, src.nbytes, stream.made)

        @like_c
        def memcpy_dtoh_async(dest: Any, src: int, stream: Stream) -> None:
            driver.cuMemcpyDtoHAsync(dest.ctypes.data, src, dest.nbytes, stream.made)

        self.Context, self.Device, self.Stream, self.Event = Context, Device, Stream, Event
        self.mem_alloc, self.pagelocked_empty = DeviceAllocation, pagelocked_empty
        self.memcpy_htod_async, self.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
        self.init = lambda flags=0: driver.cuInit(flags)


def install(monkeypatch: Any, driver: FakeDriver) -> SimpleNamespace:
    """Put both bindings and the driver's library in their places; return the two modules."""
    import cuda.bindings.driver as real

    from yolox_deploy.runtimes import gpu
    from yolox_deploy.runtimes.tensorrt import cuda as layer

    modules = {
        "pycuda.driver": PyCudaModule(driver),
        "cuda.bindings.driver": CudaPythonModule(driver, real),
    }
    monkeypatch.setattr(
        gpu, "ctypes", SimpleNamespace(**{**vars(ctypes), "CDLL": lambda _: FakeLibrary(driver)})
    )
    monkeypatch.setattr(layer, "importlib", SimpleNamespace(import_module=modules.__getitem__))
    monkeypatch.setattr(layer, "_installed", lambda module: True)
    return SimpleNamespace(**{name.partition(".")[0]: module for name, module in modules.items()})
