"""A CUDA driver without a GPU that records what is allocated, used and freed.

Memory lies on the host.  Work given to a stream happens when somebody waits for the stream, so
that a forgotten wait shows.  The driver refuses a copy of a wrong size, a use after a free, a call
without a current context, and a copy from memory that is not page-locked.  Any call can be made to
fail.  That a real driver behaves like this one cannot be shown here.
"""
# ruff: noqa: N802 (the driver's names)

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
        """Note a call, and refuse it if it is its turn to fail or no context is current."""
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
