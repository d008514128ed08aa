"""What the machine can do at most: a large matrix product and a memory copy, through libraries.

Measured in the same run as the models, in the same precision and with the same number of threads,
so that a share of the limit is a share of this machine at this time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from yolox_deploy.packages import is_installed, why_broken
from yolox_deploy.records import Amount, Record

# 2 n^3 operations over 3 n^2 numbers: the processor's speed decides, and not the memory's.
CPU_SIDE, GPU_SIDE = 1536, 8192
# Several times the last-level cache of current processors.
COPY_BYTES = 256 << 20
SECONDS = 1.0


@dataclass(frozen=True)
class Limit(Record):
    """Peak GFLOP/s of one precision, and memory bandwidth in GB/s (read and written); 0: unknown.

    ``library`` is what computed the product.
    """

    device: str
    precision: str
    threads: int | None
    gflops: Amount
    gbytes: Amount
    library: str


class Probe(NamedTuple):
    """A library's matrix product of ``side`` rows and its memory copy, as functions to be timed."""

    library: str
    product: Callable[[], Any]
    copy: Callable[[], Any]
    side: int


def measure_limit(
    device: str, precision: str, threads: int | None, seconds: float = SECONDS
) -> Limit:
    """Return the limit: the best of all installed libraries that can measure it."""
    found, bandwidth = {"": 0.0}, 0.0
    for library, product, copy, side in _probes(device, precision, threads):
        found[library] = 2 * side**3 / _best(product, seconds) / 1e9
        bandwidth = max(bandwidth, 2 * COPY_BYTES / _best(copy, seconds / 2) / 1e9)
    library = max(found, key=lambda name: found[name])
    unknown = f"no installed library multiplies in {precision} on {device}"
    return Limit(device, precision, threads, found[library], bandwidth, library or unknown)


def _probes(device: str, precision: str, threads: int | None) -> Iterator[Probe]:
    """Yield the probe of each library, which holds only until the next one is asked for."""
    kind = device.split(":")[0].split(".")[0]
    if kind == "cpu" and precision == "fp32":
        yield from _numpy(threads)
    yield from _torch(kind, device, precision, threads)


def _numpy(threads: int | None) -> Iterator[Probe]:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        threadpool_limits = nullcontext
    a = np.random.default_rng(0).random((CPU_SIDE, CPU_SIDE), np.float32)
    result = np.empty_like(a)
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    with threadpool_limits(threads):
        product, copy = lambda: np.matmul(a, a, out=result), lambda: np.copyto(target, source)
        yield Probe(f"numpy {np.__version__}", product, copy, CPU_SIDE)


def _torch(kind: str, device: str, precision: str, threads: int | None) -> Iterator[Probe]:
    if not is_installed("torch") or why_broken("torch"):
        return
    import torch

    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    ready = kind == "cpu" or (kind == "cuda" and torch.cuda.is_available())
    if precision not in types or not ready:
        return
    wait: Any = torch.cuda.synchronize if kind == "cuda" else lambda: None
    side = GPU_SIDE if kind == "cuda" else CPU_SIDE
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        a = torch.rand(side, side, device=device).to(types[precision])
        result = torch.empty_like(a)
        source = torch.ones(COPY_BYTES // 8, dtype=torch.float64, device=device)
        target = torch.empty_like(source)
        with torch.inference_mode():
            yield Probe(
                f"torch {torch.__version__}",
                lambda: (torch.mm(a, a, out=result), wait()),
                lambda: (target.copy_(source), wait()),
                side,
            )
    finally:
        torch.set_num_threads(before)


def _best(work: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of ``work``, called for at least ``seconds`` and three times."""
    best, calls, begin = float("inf"), 0, perf_counter()
    work()
    while calls < 3 or perf_counter() - begin < seconds:
        start = perf_counter()
        work()
        best = min(best, perf_counter() - start)
        calls += 1
    return best
