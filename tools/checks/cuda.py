"""Check the CUDA layer on a real GPU, and time all models there.

``python -m tools.checks.cuda --output cuda.md`` copies through every installed binding, with a
small kernel in the engine's place, and checks results, times and that no memory is lost.  Then it
measures PyTorch in FP16 from CUDA graphs, all seven models at batch 1, beside the published V100
latencies.  Weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.architectures import ARCHITECTURES, architecture
from yolox_deploy.cli.common import run
from yolox_deploy.errors import UsageError
from yolox_deploy.files import write_atomically
from yolox_deploy.progress import track
from yolox_deploy.runtimes.gpu import find_gpu, free_memory
from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS, installed_bindings
from yolox_deploy.runtimes.tensorrt.cuda import Cuda, Handle
from yolox_deploy.terminal import print_table, say

COMMAND = "tools.checks.cuda"
# One V100, batch 1, FP16, network alone.
V100_MS = {name: row.v100_ms for name, row in ARCHITECTURES.items() if row.v100_ms is not None}
WARM_UP = 30
COUNT = 1 << 18
# y[i] = 2 x[i] + 1, for any GPU from Turing on.
KERNEL = b"""\
.version 6.4
.target sm_75
.address_size 64
.visible .entry affine(.param .u64 x, .param .u64 y, .param .u32 n) {
 .reg .pred %p; .reg .f32 %f; .reg .b32 %r<5>; .reg .b64 %d<5>;
 ld.param.u64 %d0, [x]; ld.param.u64 %d1, [y]; ld.param.u32 %r0, [n];
 mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
 mad.lo.s32 %r4, %r1, %r2, %r3;
 setp.ge.u32 %p, %r4, %r0;
 @%p bra END;
 cvta.to.global.u64 %d0, %d0; cvta.to.global.u64 %d1, %d1;
 mul.wide.u32 %d2, %r4, 4;
 add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;
 ld.global.f32 %f, [%d3];
 fma.rn.f32 %f, %f, 0f40000000, 0f3F800000;
 st.global.f32 [%d4], %f;
END:
 ret;
}
\0"""


def pycuda_kernel(cuda: Cuda) -> Callable[[int, int, Handle], None]:
    """Return a function that gives the kernel to a stream of pycuda."""
    module = cuda.binding.module_from_buffer(KERNEL)
    # It keeps the module, which goes with the last reference.
    function = cuda.own(Handle(module.get_function("affine")), lambda value: None)
    grid = {"block": (256, 1, 1), "grid": (COUNT // 256, 1)}

    def launch(x: int, y: int, stream: Handle) -> None:
        function.get()(np.uint64(x), np.uint64(y), np.int32(COUNT), stream=stream.get(), **grid)

    return launch


def cuda_python_kernel(cuda: Cuda) -> Callable[[int, int, Handle], None]:
    """Return a function that gives the kernel to a stream of cuda-python."""
    call: Any = cuda._call  # type: ignore[attr-defined]
    module = cuda.own(
        Handle(call("cuModuleLoadData", KERNEL)), lambda value: call("cuModuleUnload", value)
    )
    function = call("cuModuleGetFunction", module.get(), b"affine")
    kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)

    def launch(x: int, y: int, stream: Handle) -> None:
        arguments = ((x, y, COUNT), kinds)
        shape = (COUNT // 256, 1, 1, 256, 1, 1, 0)
        call("cuLaunchKernel", function, *shape, stream.get(), arguments, 0)

    return launch


KERNELS = {"pycuda": pycuda_kernel, "cuda-python": cuda_python_kernel}


def check_binding(name: str, index: int, runs: int) -> list[str]:
    """Return a row of medians in milliseconds; raises ``AssertionError`` for a wrong result."""
    before = free_memory(index)
    with BINDINGS[name](index) as cuda, cuda.current():
        given, returned = (cuda.host_buffer((COUNT,), np.dtype(np.float32)) for _ in range(2))
        x, y = (cuda.device_buffer(COUNT * 4) for _ in range(2))
        stream, events = cuda.stream(), [cuda.event() for _ in range(4)]
        kernel = KERNELS[name](cuda)

        def launch() -> None:
            kernel(x.address, y.address, stream)

        graph = cuda.capture(stream, launch) if cuda.graphs else None
        seconds = []
        for i in range(runs):
            given.array[:] = np.arange(COUNT, dtype=np.float32) % 1000 + i
            cuda.record(events[0], stream)
            cuda.copy_in(x, given.array, stream)
            cuda.record(events[1], stream)
            launch() if graph is None or i % 2 else cuda.launch(graph, stream)
            cuda.record(events[2], stream)
            cuda.copy_out(returned.array, y, stream)
            cuda.record(events[3], stream)
            cuda.synchronize(stream)
            np.testing.assert_array_equal(returned.array, 2 * given.array + 1)
            seconds.append([cuda.seconds(events[j], events[j + 1]) for j in range(3)])
    lost = before - free_memory(index)
    medians = np.median(seconds, 0) * 1e3
    graphs = "yes" if graph is not None else "no"
    return [name, *(f"{m:.3f}" for m in medians), graphs, f"{lost / 2**20:.1f}", str(runs)]


class Times(NamedTuple):
    """Seconds of every run: of the network by the device's clock, and with both copies."""

    network: NDArray[np.float64]
    total: NDArray[np.float64]


def measure(arch: str, device: str, runs: int, size: int | None = None) -> Times:
    """Run a model of random weights at batch 1 and its test size (or ``size``)."""
    import torch

    from yolox_deploy.models import build_network
    from yolox_deploy.runtimes.torch import GraphRunner, gpu, halve_convolutions

    torch.manual_seed(0)
    network = build_network(arch).eval()
    side = size or network.arch.test_size
    halve_convolutions(network)
    images = np.random.default_rng(0).uniform(0, 255, (1, 3, side, side)).astype(np.float32)
    kind, _, index = device.partition(":")
    if kind == "cuda":
        runner = GraphRunner(network, gpu(int(index or 0)))
    network_seconds, total = [], []
    for i in range(runs + min(runs, WARM_UP)):
        start = time.perf_counter()
        if kind == "cuda":
            _, (_, seconds, _) = runner(images)
        else:
            with torch.inference_mode():
                network(torch.from_numpy(images))
            seconds = time.perf_counter() - start
        if i >= min(runs, WARM_UP):
            network_seconds.append(seconds)
            total.append(time.perf_counter() - start)
    return Times(np.array(network_seconds), np.array(total))


def row_of(arch: str, times: Times) -> list[str]:
    """Return a model's cells: milliseconds beside the published ones."""
    median, late = np.percentile(times.network, (50, 99)) * 1e3
    whole = float(np.median(times.total)) * 1e3
    v100 = V100_MS.get(arch)
    beside = [f"{v100:.1f}", f"{v100 / median:.1f}x"] if v100 else ["-", "-"]
    return [arch, f"{median:.2f}", f"{late:.2f}", f"{whole:.2f}", *beside, str(len(times.total))]


def machine(device: str) -> list[str]:
    """Return lines on versions, and on a GPU its clocks now."""
    import torch

    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    bindings = ", ".join(f"{k} {v}" for k, v in installed_bindings().items()) or "no CUDA binding"
    lines = [f"{versions}, {bindings}"]
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        lines.append(str(find_gpu(index)))
        asked = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,temperature.gpu"
        try:
            command = ["nvidia-smi", f"--id={index}", f"--query-gpu={asked}", "--format=csv"]
            found = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
            lines += found.splitlines()
        except OSError:
            lines.append("clocks unknown: there is no nvidia-smi")
    return lines


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = (headers, ["---"] * len(headers), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


LAYER = ("binding", "copy in ms", "kernel ms", "copy out ms", "graphs", "lost MiB", "runs")
MODELS = ("model", "network ms", "p99 ms", "with copies ms", "V100 ms", "faster", "runs")


def check(arguments: argparse.Namespace) -> int:
    """Check, measure, print and write."""
    names = [architecture(name).name for name in arguments.models or ARCHITECTURES]
    device: str = arguments.device
    if arguments.runs < 1:
        raise UsageError(f"--runs must be at least 1, got {arguments.runs}")
    text = f"{COMMAND} on {device}: YOLOX, batch 1, FP16, random weights\n\n"
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        say(f"{COMMAND}: {find_gpu(index)}")
        layer = [check_binding(name, index, arguments.runs) for name in installed_bindings()]
        print_table(LAYER, layer)
        text += markdown(LAYER, layer) + "\n"
    rows = [
        row_of(name, measure(name, device, arguments.runs, arguments.imgsz))
        for name in track(names, len(names), "models")
    ]
    print_table(MODELS, rows)
    # While the clocks are still up.
    text += markdown(MODELS, rows) + "\n" + "".join(f"- {line}\n" for line in machine(device))
    if arguments.output:
        write_atomically(arguments.output, text)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; returns its exit code."""
    parser = argparse.ArgumentParser(COMMAND, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: cuda)")
    parser.add_argument("--models", nargs="+", help="architectures (default: all seven)")
    parser.add_argument("--runs", type=int, default=200, help="runs after warm-up (default: 200)")
    parser.add_argument("--imgsz", type=int, help="input side (default: each model's test size)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables as Markdown")
    arguments = parser.parse_args(argv)
    return run(COMMAND, lambda: check(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
