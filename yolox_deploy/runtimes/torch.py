"""Checkpoints on PyTorch, as they were trained; every artifact is compared with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yolox_deploy.errors import DeviceError
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.runtimes.base import Array, EngineFacts, Opened, Runtime

# Runs before a graph is captured, in which cuDNN chooses its kernels.
WARM_UP = 3
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class TorchRuntime(Runtime):
    """The network as it was trained; ``device`` is ``cpu``, ``cuda`` (``cuda:1``) or ``mps``.

    With ``precision`` fp16 convolutions run in half precision and everything else in float32.  On
    CUDA memory is channels-last, convolutions in fp32 do not use TF32, every batch size has a CUDA
    graph of its own, and ``engine_seconds`` come from CUDA events.  ``threads`` sets PyTorch's
    number of threads, which the whole process shares.

    Raises :class:`~yolox_deploy.errors.DeviceError` if PyTorch does not see the device.
    """

    # The number of threads is that of the process.
    divisible = False
    name = "torch"
    devices = ("cpu", "cuda", "mps")
    precisions = ("fp32", "fp16")
    why_not_measured = (
        "on a CPU PyTorch takes many times as long in it as in fp32; name it to measure it: "
        "--precision fp16"
    )
    openmp = True
    on_gpu: GraphRunner | None = None

    @classmethod
    def precisions_on(cls, kind: str) -> tuple[str, ...]:
        """Return the precisions without fp16 on a CPU, where it takes 5 to 8 times as long."""
        return ("fp32",) if kind == "cpu" else cls.precisions

    def _open(self) -> Opened:
        kind, index = self.placed.kind, self.placed.index
        if kind != "cpu" and not getattr(torch, kind).is_available():
            raise DeviceError(f"PyTorch sees no {kind} device here: use device cpu")
        if kind == "cuda" and index >= torch.cuda.device_count():
            raise DeviceError(f"there is no GPU {index}: PyTorch sees {torch.cuda.device_count()}")
        on_gpu = kind != "cpu"
        if threads := self.threads if on_gpu else self.threads_within(torch.get_num_threads()):
            torch.set_num_threads(threads)
        checkpoint = load_checkpoint(self.path, self.hints.architecture)
        spec = checkpoint.spec(self.hints)
        _, note = checkpoint.input_is_legacy(self.hints.legacy)
        self.notes = (*checkpoint.notes, note) if note else checkpoint.notes
        self.network: nn.Module = checkpoint.network
        if self.precision == "fp16":
            halve_convolutions(self.network)
        if kind == "cuda":
            self.on_gpu = GraphRunner(self.network, gpu(index))
        else:
            self.network.to(self.device)
        return Opened(spec.to_json(), (None,) * 4, (None,) * 3)

    def _infer(self, images: Array) -> Array:
        if self.on_gpu is not None:
            output, seconds = self.on_gpu(images)
            self.add_engine_seconds(*seconds)
            return output
        with torch.inference_mode():
            output = self.network(torch.from_numpy(images).to(self.device))
        return np.asarray(output.float().cpu().numpy(), np.float32)

    def facts(self) -> EngineFacts:
        """Return the type of the first weight, and the number of threads of the process."""
        weight = next(self.network.parameters())
        return EngineFacts(DTYPES.get(weight.dtype, str(weight.dtype)), torch.get_num_threads())

    def _close(self) -> None:
        self.__dict__.pop("network", None)
        if self.__dict__.pop("on_gpu", None) is not None:
            # PyTorch would keep the memory for later use.
            torch.cuda.empty_cache()


def gpu(index: int) -> torch.device:
    """Return the device that PyTorch calls ``cuda:index``."""
    return torch.device("cuda", index)


def halve_convolutions(network: nn.Module) -> None:
    """Let the convolutions compute in float16, in place.

    Normalisation keeps its statistics in float32: published weights have variances of 1e-13, and
    float16 ends at 6e-8.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.half()
    network.register_forward_pre_hook(lambda _, inputs: (inputs[0].half(), *inputs[1:]))


class GraphRunner:
    """A network on a CUDA device, with one CUDA graph and its buffers for each batch size."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.captured: dict[int, tuple[Tensor, Tensor, Tensor, Any]] = {}
        with torch.cuda.device(self.device):
            self.pool = torch.cuda.graph_pool_handle()
            self.stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self.events: Any = [torch.cuda.Event(enable_timing=True) for _ in range(4)]  # type: ignore[no-untyped-call]

    def __call__(self, images: Array) -> tuple[Array, tuple[float, float, float]]:
        """Return the float32 output, and the seconds of copying in, computing and copying out."""
        with torch.inference_mode(), torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            if len(images) not in self.captured:
                self.captured[len(images)] = self._prepare(images.shape)
            pinned, taken, given, graph = self.captured[len(images)]
            returned = torch.empty(given.shape, pin_memory=pinned.is_pinned())
            pinned.copy_(torch.from_numpy(images))
            events = self.events
            events[0].record()
            taken.copy_(pinned, non_blocking=True)
            events[1].record()
            graph.replay()
            events[2].record()
            returned.copy_(given, non_blocking=True)
            events[3].record()
            events[3].synchronize()
        seconds = [events[i].elapsed_time(events[i + 1]) * 1e-3 for i in range(3)]
        return returned.numpy(), (seconds[0], seconds[1], seconds[2])

    def _prepare(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Return a page-locked input, input and output on the device, and their graph."""
        pinned = torch.zeros(shape, pin_memory=self.device.type == "cuda")
        taken = torch.zeros(shape, device=self.device)

        def compute() -> Tensor:
            images = taken.contiguous(memory_format=torch.channels_last)
            output: Tensor = self.network(images)
            return output.float().contiguous()

        flags = torch.backends.cudnn.flags
        with flags(enabled=True, benchmark=True, benchmark_limit=0, allow_tf32=False):
            for _ in range(WARM_UP):
                given = compute()
            given, graph = self._capture(compute)
        return pinned, taken, given, graph

    def _capture(self, compute: Callable[[], Tensor]) -> tuple[Tensor, Any]:
        """Return the tensor that every replay of the graph writes, and the graph."""
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads of the process may allocate meanwhile.
        with torch.cuda.graph(
            graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
        ):
            given = compute()
        return given, graph
