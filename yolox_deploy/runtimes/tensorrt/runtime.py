"""Engines of TensorRT 8.6 to 11, and of TensorRT-RTX.

An engine is code that runs with the rights of the process: open only engines that you trust.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

import numpy as np

from yolox_deploy.errors import ArtifactError
from yolox_deploy.runtimes.base import Array, Opened, Runtime
from yolox_deploy.runtimes.doubts import AS_BUILT
from yolox_deploy.runtimes.gpu import Gpu, find_gpu
from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS, choose_binding
from yolox_deploy.runtimes.tensorrt.compatibility import (
    Machine,
    caution,
    finish_command,
    rebuild_command,
    refusal,
)
from yolox_deploy.runtimes.tensorrt.cuda import Cuda, CudaError, Handle
from yolox_deploy.runtimes.tensorrt.log import log_of
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, check_content, read_sidecar
from yolox_deploy.runtimes.texts import Shape, shape_text
from yolox_deploy.spec import ModelSpec

# The element types that an engine may take and return, by the names of TensorRT's DataType.
DTYPES: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype(np.float32), "HALF": np.dtype(np.float16)}
DYNAMIC = -1
# What a runtime holds, in the order in which it is deleted.
ENGINE_OBJECTS = ("context", "engine", "runtime")
CUDA_OBJECTS = ("_graph", "stream", "events", "host", "device_memory", "result")
# Why an engine may not load: if nothing is known of it, and if it was compared with its sidecar.
UNKNOWN = "it may be truncated, or built by another version or for another GPU"
WHOLE = "the file is whole and fits this machine, so the driver may be too old or memory short"


class TensorRTRuntime(Runtime):
    """One engine with one execution context and one stream, on one GPU.

    ``device`` is ``cuda`` or ``cuda:1``.  The setting ``cuda_binding`` chooses the Python package
    that makes the CUDA calls; without it, the first one that is installed is used.  With
    cuda-python, which has CUDA graphs, a batch of the same size as the batch before is replayed
    from a graph.  The precision was chosen when the engine was built.  ``engine_seconds`` come
    from CUDA events.

    Raises :class:`~yolox_deploy.errors.DeviceError` if there is no GPU.
    """

    name = "tensorrt"
    module: ClassVar[str] = "tensorrt"
    devices = ("cuda",)
    precisions = (AS_BUILT,)
    settings: ClassVar[Mapping[str, tuple[str, ...]]] = {"cuda_binding": tuple(BINDINGS)}

    def _open(self) -> Opened:
        # Before any object of TensorRT is made: without a driver some versions crash.
        gpu = find_gpu(self.placed.index)
        spec, record = read_sidecar(self.path)
        trt = importlib.import_module(self.module)
        machine = Machine(self.name, trt.__version__, gpu.name, gpu.compute_capability)
        self._compare(spec, record, machine)
        self.precision = record.precision if record else spec.precision
        binding = choose_binding(self.chosen_settings.get("cuda_binding"))
        self.cuda: Cuda = binding(self.placed.index)
        with self.cuda.current():
            self._load(trt, spec, record, gpu)
            opened = self._describe(trt, spec)
            self._allocate(trt, spec)
        if record is None or not record.executed:
            self.notes += (
                f"{self.path.name} has not been verified by running it; to do so: "
                f"{finish_command(self.path, spec)}",
            )
        return opened

    def _compare(self, spec: ModelSpec, record: EngineRecord | None, machine: Machine) -> None:
        """Refuse an engine that does not fit this machine, or does not belong to its sidecar."""
        if record is None:
            return
        if problem := refusal(record, machine):
            raise ArtifactError(
                f"{self.path} cannot run here: {problem}; build it again: "
                f"{rebuild_command(spec, record, machine)}"
            )
        check_content(self.path, record)
        if doubt := caution(record, machine):
            self.notes += (f"{self.path.name}: {doubt}",)

    def _load(self, trt: Any, spec: ModelSpec, record: EngineRecord | None, gpu: Gpu) -> None:
        self.log = log_of(trt)
        self.log.lines.clear()
        self.runtime = trt.Runtime(self.log)
        if record is not None and record.version_compatible:
            # Such an engine contains the runtime of the version that built it.
            self.runtime.engine_host_code_allowed = True
        self.engine = self.runtime.deserialize_cuda_engine(self.path.read_bytes())
        if self.engine is None:
            raise ArtifactError(
                f"{self.path}: {self.name} {trt.__version__} cannot load it on {gpu}"
                f"{self._reason()}; {UNKNOWN if record is None else WHOLE}; build it again: "
                f"{rebuild_command(spec, record)}"
            )
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise ArtifactError(
                f"{self.path}: the GPU has no room for the engine's activations{self._reason()}"
            )

    def _describe(self, trt: Any, spec: ModelSpec) -> Opened:
        """Find the engine's input, its output and the batch sizes that it takes."""
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        taken = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        given = [n for n in names if n not in taken]
        self.demand_one_of_each(taken, given, "; NMS belongs outside the engine, Detector does it")
        (self.input_name,), (self.output_name,) = taken, given
        stated = tuple(self.engine.get_tensor_shape(self.input_name))
        lowest = highest = stated
        if DYNAMIC in stated:
            shapes = self.engine.get_tensor_profile_shape(self.input_name, 0)
            lowest, highest = tuple(shapes[0]), tuple(shapes[-1])
        # Its profile has to cover the input that its spec states.
        wanted = (spec.batch, 3, spec.height, spec.width)
        inside = len(lowest) == len(highest) == 4 and all(
            low <= side <= high if side is not None else 1 <= low <= high
            for low, side, high in zip(lowest, wanted, highest, strict=True)
        )
        if not inside:
            raise ArtifactError(
                f"{self.path} takes {shape_text(lowest)} to {shape_text(highest)}, its sidecar "
                f"says {shape_text(wanted)}: copy both files again from the same export"
            )
        self.batches = (lowest[0], highest[0])
        returned = tuple(self.engine.get_tensor_shape(self.output_name))
        return Opened(spec.to_json(), _shape(stated), _shape(returned))

    def _allocate(self, trt: Any, spec: ModelSpec) -> None:
        """Allocate buffers for the largest batch, so that their addresses never change."""
        largest = self.batches[1]
        self._count = 0
        self._repeats = 0
        self._graph: Handle | None = None
        self._graphs_work = self.cuda.graphs
        self.picture = (3, spec.height, spec.width)
        self._set_batch(largest)
        returned = tuple(self.context.get_tensor_shape(self.output_name))
        if len(returned) < 2 or min(returned) < 1 or returned[0] != largest:
            raise ArtifactError(
                f"{self.path} returns {shape_text(_shape(returned))} for {largest} pictures: a "
                "YOLOX detector returns equally many rows for every picture; NMS belongs outside "
                "the engine"
            )
        self.stream = self.cuda.stream()
        self.events = [self.cuda.event() for _ in range(4)]
        shapes = {self.input_name: (largest, *self.picture), self.output_name: returned}
        self.host, self.device_memory = [], []
        for name, shape in shapes.items():
            self.host.append(self.cuda.host_buffer(shape, self._dtype(trt, name)))
            buffer = self.cuda.device_buffer(self.host[-1].array.nbytes)
            self.device_memory.append(buffer)
            accepted = self.context.set_tensor_address(name, buffer.address)
            self._demand(accepted, f"the address of {name}")
        # infer() returns a copy, because close() frees the page-locked memory.
        self.result = np.empty(returned, np.float32)

    def _dtype(self, trt: Any, name: str) -> np.dtype[Any]:
        found = self.engine.get_tensor_dtype(name)
        for word, dtype in DTYPES.items():
            if found == getattr(trt.DataType, word):
                return dtype
        raise ArtifactError(
            f"{self.path}: {name} is {found}, expected {' or '.join(DTYPES)}: export it with "
            "float32 input and output"
        )

    def _set_batch(self, count: int) -> None:
        """Tell the engine the batch size, and free a graph that was captured for another size."""
        if count == self._count:
            self._repeats += 1
            return
        if self._graph is not None:
            graph, self._graph = self._graph, None
            self.cuda.free(graph)
        # If the engine refuses the size, its shape is unknown.
        self._count, self._repeats = 0, 0
        accepted = self.context.set_input_shape(self.input_name, (count, *self.picture))
        self._demand(accepted, f"a batch of {count}")
        self._count = count

    def _infer(self, images: Array) -> Array:
        smallest, largest = self.batches
        if len(images) > largest:
            starts = range(0, len(images), largest)
            return np.concatenate([self._infer(images[i : i + largest]).copy() for i in starts])
        with self.cuda.current():
            return self._infer_batch(images, max(len(images), smallest))[: len(images)]

    def _infer_batch(self, images: Array, count: int) -> Array:
        """Run a batch of ``count`` pictures; after ``images`` it is filled up with zeros."""
        cuda, stream, events = self.cuda, self.stream, self.events
        (host_in, host_out) = (buffer.array[:count] for buffer in self.host)
        np.copyto(host_in[: len(images)], images, casting="same_kind")
        host_in[len(images) :] = 0
        self._set_batch(count)
        cuda.record(events[0], stream)
        cuda.copy_in(self.device_memory[0], host_in, stream)
        cuda.record(events[1], stream)
        self._execute()
        cuda.record(events[2], stream)
        cuda.copy_out(host_out, self.device_memory[1], stream)
        cuda.record(events[3], stream)
        cuda.synchronize(stream)
        self.add_engine_seconds(*(cuda.seconds(events[i], events[i + 1]) for i in range(3)))
        np.copyto(self.result[:count], host_out)
        return self.result[:count]

    def _execute(self) -> None:
        # The first run of a batch size: TensorRT then does work that cannot be captured.
        if self._graph is None and self._graphs_work and self._repeats:
            self._capture()
        if self._graph is None:
            self._enqueue()
        else:
            self.cuda.launch(self._graph, self.stream)

    def _capture(self) -> None:
        """Capture one execution into a graph; an engine that cannot be captured runs without."""
        capturable = getattr(self.context, "is_stream_capturable", lambda stream: True)
        with suppress(CudaError):
            if capturable(self.cuda.address(self.stream)):
                self._graph = self.cuda.capture(self.stream, self._enqueue)
        self._graphs_work = self._graph is not None

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.cuda.address(self.stream)):
            raise CudaError(f"{self.name} could not run the engine{self._reason()}")

    def _demand(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise ArtifactError(f"{self.path}: {self.name} refuses {what}{self._reason()}")

    def _reason(self) -> str:
        """Return TensorRT's last error in brackets, to append to a message."""
        return f" ({' '.join(self.log.lines[-1].split())[:300]})" if self.log.lines else ""

    def _close(self) -> None:
        cuda: Cuda | None = self.__dict__.pop("cuda", None)
        if cuda is None:
            return
        with ExitStack() as last:
            last.callback(cuda.close)
            # Also if the context can no longer be made current.
            last.callback(self._forget)
            with cuda.current():
                self._forget()

    def _forget(self) -> None:
        for name in ENGINE_OBJECTS + CUDA_OBJECTS:
            self.__dict__.pop(name, None)


class TensorRTRTXRuntime(TensorRTRuntime):
    """Engines of TensorRT-RTX; all else is as with :class:`TensorRTRuntime`."""

    name = "tensorrt-rtx"
    module = "tensorrt_rtx"


def _shape(dimensions: Sequence[int]) -> Shape:
    return tuple(None if d == DYNAMIC else int(d) for d in dimensions)
