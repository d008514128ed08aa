"""Ask the NVIDIA driver which GPUs there are, before a library that needs one is used.

Without a driver some of these libraries crash the process instead of raising an error.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import ExitStack
from typing import NamedTuple

from yolox_deploy.errors import DeviceError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUdevice_attribute, CUDA driver API.
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
FOR_THE_CPU = "use an artifact for the CPU (.onnx, .xml, .param)"
INSTALL_DRIVER = (
    "install one from https://www.nvidia.com/drivers (in a container: start it with --gpus all), "
    f"or {FOR_THE_CPU}"
)


class Gpu(NamedTuple):
    """One GPU; ``memory`` is in bytes, ``driver`` the newest CUDA it supports ("13.0")."""

    number: int
    name: str
    compute_capability: tuple[int, int]
    memory: int
    driver: str

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return f"{self.name} (compute capability {major}.{minor}, CUDA {self.driver})"


class Driver:
    """The driver's library; raises :class:`DeviceError` if there is no driver, or no GPU."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DeviceError("no NVIDIA driver here", INSTALL_DRIVER) from error
        self.call("cuInit", 0)
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        self.count = count.value
        if not self.count:
            raise DeviceError("the NVIDIA driver sees no GPU here", FOR_THE_CPU)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the driver; raises :class:`DeviceError` with the name of the error."""
        try:
            status = getattr(self.library, name)(*arguments)
        except AttributeError as error:
            raise DeviceError(f"the NVIDIA driver is too old, it has no {name}") from error
        if status:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(status, ctypes.byref(text))
            problem = (text.value or b"an unknown error").decode("ascii", "replace")
            raise DeviceError(f"the NVIDIA driver refuses {name}: {problem} ({status})")

    def gpu(self, index: int) -> Gpu:
        """Describe a GPU; raises :class:`DeviceError` if there is no GPU of that number."""
        if not 0 <= index < self.count:
            raise DeviceError(
                f"there is no GPU {index} here: the driver sees {self.count}, numbered from 0"
            )
        device, version = ctypes.c_int(), ctypes.c_int()
        name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDeviceGetName", name, len(name), device)
        self.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        self.call("cuDeviceGetAttribute", ctypes.byref(major), CAPABILITY_MAJOR, device)
        self.call("cuDeviceGetAttribute", ctypes.byref(minor), CAPABILITY_MINOR, device)
        return Gpu(
            index,
            name.value.decode("utf-8", "replace"),
            (major.value, minor.value),
            memory.value,
            f"{version.value // 1000}.{version.value % 1000 // 10}",
        )

    def pop_context(self) -> None:
        """Take the current context off this thread's stack."""
        self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def free_memory(self, index: int) -> int:
        """Return how many bytes of a GPU's memory are free now."""
        device, context = ctypes.c_int(), ctypes.c_void_p()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        with ExitStack() as undo:
            undo.callback(self.call, "cuDevicePrimaryCtxRelease_v2", device)
            self.call("cuCtxPushCurrent_v2", context)
            undo.callback(self.pop_context)
            self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value


def find_gpu(index: int = 0) -> Gpu:
    """Return GPU ``index``; raises :class:`DeviceError`, which says what is missing."""
    return Driver().gpu(index)


def free_memory(index: int = 0) -> int:
    """Return how many bytes are free on GPU ``index``; raises :class:`DeviceError`."""
    return Driver().free_memory(index)


def missing_gpu() -> DeviceError | None:
    """Return the error that says what is missing for a GPU, ``None`` if there is one."""
    try:
        Driver()
    except DeviceError as error:
        return error
    return None


def why_no_gpu() -> str:
    """Return one sentence on why no GPU can be used and what to do, or "" if there is a GPU."""
    return str(missing_gpu() or "")
