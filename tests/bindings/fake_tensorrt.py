"""A TensorRT that runs engines on the fake driver: the recorded bindings with a little behaviour.

Its classes inherit from the recorded ones: a name that a version lacks cannot be given behaviour
and raises when used, arguments are bound to the real ones, and nothing but the recorded properties
can be set.  It refuses what TensorRT refuses where that is known: another file, a shape outside
the profile, addresses that are no memory of the GPU, no current context, a wrong order of death.
What a real engine computes, how fast, and in which words it fails cannot be shown.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"ftrtplan"


@dataclass(frozen=True)
class FakeEngine:
    """What an engine takes and returns: ``low`` to ``high`` pictures, or ``fixed``."""

    low: int = 1
    high: int = 4
    fixed: bool = False
    dtype: str = "FLOAT"
    picture: tuple[int, ...] = (3, 64, 64)
    rows: tuple[int, ...] = (84, 6)
    inputs: tuple[str, ...] = ("images",)
    outputs: tuple[str, ...] = ("output",)
    # Whether work can be captured into a graph.
    capturable: bool = True
    context: bool = True

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype({"FLOAT": np.float32, "HALF": np.float16}.get(self.dtype, np.int32))


def expected_output(images: NDArray[Any], rows: tuple[int, ...]) -> NDArray[np.float32]:
    """Return what a fake engine computes: something of every picture's own."""
    base = np.arange(np.prod(rows), dtype=np.float32).reshape(rows) % 7
    means = images.astype(np.float32).mean((1, 2, 3)) / 100
    return (base[None] + means.reshape(-1, *(1 for _ in rows))).astype(np.float32)


def with_behaviour(base: type, **members: Any) -> type:
    """Return a subclass whose ``members`` override recorded ones, bound to their arguments."""

    def only_recorded(self: Any, name: str, value: Any) -> None:
        if not name.startswith("_") and not isinstance(getattr(base, name), property):
            raise AttributeError(name)
        object.__setattr__(self, name, value)

    made: dict[str, Any] = {"__setattr__": only_recorded}
    for name, value in members.items():
        if name.startswith("__"):
            made[name] = value
            continue
        recorded = getattr(base, name)
        if isinstance(recorded, property):
            made[name] = property(value, recorded.fset)
        else:
            made[name] = _checked(recorded, value)
    return type(base.__name__, (base,), made)


def _checked(recorded: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        recorded(self, *arguments, **named)
        return function(self, *arguments, **named)

    return call


def fake_tensorrt(
    bindings: ModuleType, version: str, driver: Any, engine: FakeEngine
) -> ModuleType:
    """Return the module of a version whose runtime deserializes ``engine``."""
    module: ModuleType = bindings.replay(version)
    deaths: list[str] = []
    vars(module)["deaths"] = deaths
    trt: Any = module

    def current(what: str) -> None:
        if not driver.stack:
            driver.refuse(f"{what} without a current context")

    def died(name: str) -> Callable[[Any], None]:
        return lambda self: deaths.append(name)

    stated = (engine.high if engine.fixed else -1, *engine.picture)

    def set_input_shape(self: Any, name: str, shape: Any) -> bool:
        self._shape = tuple(shape)
        low = engine.high if engine.fixed else engine.low
        return (
            name == "images"
            and low <= shape[0] <= engine.high
            and self._shape[1:] == engine.picture
        )

    def set_tensor_address(self: Any, name: str, address: int) -> bool:
        self._addresses = {**getattr(self, "_addresses", {}), name: address}
        return name in engine.inputs + engine.outputs and address in driver.memory

    def execute(self: Any, stream_handle: int) -> bool:
        current("execute_async_v3")
        if stream_handle in driver.captures and not engine.capturable:
            return False
        count, addresses = self._shape[0], dict(self._addresses)
        if set(addresses) != set(engine.inputs + engine.outputs):
            return False
        taken = engine.numpy.itemsize * count * int(np.prod(engine.picture))
        given = engine.numpy.itemsize * count * int(np.prod(engine.rows))
        out = expected_output

        def work() -> None:
            for name, size in (("images", taken), ("output", given)):
                if len(driver.memory.get(addresses[name], b"")) < size:
                    driver.wrong.append(f"the memory of {name} is gone or too small")
                    return
            source = ctypes.string_at(addresses["images"], taken)
            images = np.frombuffer(source, engine.numpy).reshape(count, *engine.picture)
            result = out(images, engine.rows).astype(engine.numpy).tobytes()
            ctypes.memmove(addresses["output"], result, len(result))

        with driver.lock:
            driver.enqueue(stream_handle, work)
        return True

    behaviour: dict[str, Any] = {}
    if hasattr(trt.IExecutionContext, "is_stream_capturable"):
        behaviour["is_stream_capturable"] = lambda self, stream: engine.capturable
    context = with_behaviour(
        trt.IExecutionContext,
        set_input_shape=set_input_shape,
        set_tensor_address=set_tensor_address,
        get_tensor_shape=lambda self, name: (self._shape[0], *engine.rows),
        execute_async_v3=execute,
        __del__=died("context"),
        **behaviour,
    )

    def shape_of(self: Any, name: str) -> Any:
        return stated if name in engine.inputs else (stated[0], *engine.rows)

    def profile(self: Any, name: str, index: int) -> Any:
        assert index == 0
        return [(n, *engine.picture) for n in (engine.low, engine.low, engine.high)]

    def make_context(self: Any, *rest: Any) -> Any:
        current("create_execution_context")
        return context() if engine.context else None

    names = engine.inputs + engine.outputs
    modes = trt.TensorIOMode
    engine_class = with_behaviour(
        trt.ICudaEngine,
        num_io_tensors=lambda self: len(names),
        get_tensor_name=lambda self, index: names[index],
        get_tensor_mode=lambda self, n: modes.INPUT if n in engine.inputs else modes.OUTPUT,
        get_tensor_shape=shape_of,
        get_tensor_profile_shape=profile,
        get_tensor_dtype=lambda self, name: getattr(trt.DataType, engine.dtype),
        create_execution_context=make_context,
        __del__=died("engine"),
    )

    def deserialize(self: Any, serialized_engine: Any, *rest: Any) -> Any:
        current("deserialize_cuda_engine")
        if not bytes(serialized_engine).startswith(MAGIC):
            text = "Error Code 1: Serialization (magic tag does not match)"
            self._logger.log(trt.ILogger.Severity.ERROR, text)
            return None
        return engine_class()

    def begin(self: Any, logger: Any) -> None:
        current("Runtime")
        self._logger = logger

    trt.Runtime = with_behaviour(
        trt.Runtime,
        __init__=begin,
        deserialize_cuda_engine=deserialize,
        __del__=died("runtime"),
    )
    return module
