"""``pycuda.driver`` on the fake driver.

It follows the source of pycuda 2026.1 in what it does with contexts and destructors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from fake_driver import FakeDriver, RefusedError


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
