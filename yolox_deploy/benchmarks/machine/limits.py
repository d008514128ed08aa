"""What the machine can do at all: a large matrix product and a memory copy, through libraries.

Measured in the same run as the models, in the same precision and with the same number of threads,
so that a share of the limit is a share of this machine as it was at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

# 2 n^3 operations over 3 n^2 numbers: far on the computing side of any machine.
CPU_SIDE, GPU_SIDE = 1536, 8192
# Several times the last-level cache of current processors.
COPY_BYTES = 256 << 20
SECONDS = 1.0


@dataclass(frozen=True)
class Limit:
    """Peak GFLOP/s of one precision, and memory bandwidth in GB/s (read and written); 0: unknown.

    ``library`` says through what the product was computed.
    """

    device: str
    precision: str
    threads: int | None
    gflops: float
    gbytes: float
    library: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def measure_limit(
    device: str, precision: str, threads: int | None, seconds: float = SECONDS
) -> Limit:
    """Return the limit: the best of all libraries that are installed and can do it."""
    found: dict[str, float] = {}
    copies: list[float] = []
    for library, product, copy, side in _libraries(device, precision, threads):
        found[library] = 2 * side**3 / _best(product, seconds) / 1e9
        if copy is not None:
            copies.append(2 * COPY_BYTES / _best(copy, seconds / 2) / 1e9)
    library = max(found, key=lambda name: found[name]) if found else ""
    return Limit(
        device,
        precision,
        threads,
        found.get(library, 0.0),
        max(copies, default=0.0),
        library or f"no installed library multiplies in {precision} on {device}",
    )


Probe = tuple[str, Callable[[], Any], Callable[[], Any] | None, int]


def _libraries(device: str, precision: str, threads: int | None) -> Iterator[Probe]:
    """Yield each library's product and copy, set up while it is being asked."""
    kind = device.split(":")[0].split(".")[0]
    if kind == "cpu" and precision == "fp32":
        yield from _numpy(threads)
    yield from _torch(kind, device, precision, threads)


def _numpy(threads: int | None) -> Iterator[Probe]:
    try:
        from threadpoolctl import threadpool_limits

        context: Any = threadpool_limits(threads)
    except ImportError:
        context = nullcontext()
    a = np.random.default_rng(0).random((CPU_SIDE, CPU_SIDE), np.float32)
    result = np.empty_like(a)
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    with context:
        yield (
            f"numpy {np.__version__}",
            lambda: np.matmul(a, a, out=result),
            lambda: np.copyto(target, source),
            CPU_SIDE,
        )


def _torch(kind: str, device: str, precision: str, threads: int | None) -> Iterator[Probe]:
    try:
        import torch
    except ImportError:
        return
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in types or kind not in ("cpu", "cuda"):
        return
    if kind == "cuda" and not torch.cuda.is_available():
        return
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        side = GPU_SIDE if kind == "cuda" else CPU_SIDE
        a = torch.rand(side, side, device=device).to(types[precision])
        result = torch.empty_like(a)
        source = torch.ones(COPY_BYTES // 8, dtype=torch.float64, device=device)
        target = torch.empty_like(source)

        def finished(work: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> None:
                with torch.inference_mode():
                    work()
                if kind == "cuda":
                    torch.cuda.synchronize()

            return run

        yield (
            f"torch {torch.__version__}",
            finished(lambda: torch.mm(a, a, out=result)),
            finished(lambda: target.copy_(source)),
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
